"""One container's cgroup files, as kernels write them: the same use on both versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from podyard.stats.cgroup_v1 import CgroupV1
from podyard.stats.cgroup_v2 import CgroupV2

V2 = {
    "cpu.stat": (
        "usage_usec 2825951\nuser_usec 2700000\nsystem_usec 125951\ncore_sched.force_idle_usec 0\n"
        "nr_periods 28\nnr_throttled 4\nthrottled_usec 1500\nnr_bursts 0\nburst_usec 0\n"
    ),
    "cpu.max": "20000 100000\n",
    "cpu.weight": "39\n",
    "cpu.pressure": (
        "some avg10=2.00 avg60=1.00 avg300=0.50 total=3000000\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=2000000\n"
    ),
    "memory.pressure": (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=10\n"
    ),
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4\n",
    "memory.current": "3477504\n",
    "memory.max": "67108864\n",
    "memory.min": "1048576\n",
    "memory.peak": "5173248\n",
    "memory.stat": (
        "anon 61440\nfile 3166208\nkernel 249856\nkernel_stack 16384\npagetables 40960\npercpu 0\nsock 0\nvmalloc 0\n"
        "shmem 0\nfile_mapped 4096\nfile_dirty 0\nswapcached 0\ninactive_anon 57344\nactive_anon 4096\n"
        "inactive_file 3145728\nactive_file 20480\nslab 118784\npgfault 1121\npgmajfault 3\n"
    ),
    "memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n",
    "memory.swap.current": "8192\n",
    "memory.swap.max": "33554432\n",
    "io.stat": "254:0 rbytes=12288 wbytes=3145728 rios=3 wios=24 dbytes=0 dios=0\n",
    "pids.current": "5\n",
    "pids.max": "max\n",
    "hugetlb.2MB.current": "4194304\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.rsvd.current": "0\n",
    "hugetlb.1GB.current": "0\n",
    "cgroup.procs": "12\n",
    "below/cgroup.procs": "11\n13\n",
}

V1 = {
    "cpuacct/cpuacct.usage": "2825951309\n",
    "cpuacct/cpuacct.usage_user": "2700000000\n",
    "cpuacct/cpuacct.usage_sys": "125951309\n",
    "cpu/cpu.stat": "nr_periods 28\nnr_throttled 4\nthrottled_time 1500000\n",
    "cpu/cpu.shares": "1024\n",
    "cpu/cpu.cfs_quota_us": "20000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "memory/memory.usage_in_bytes": "3477504\n",
    "memory/memory.limit_in_bytes": "67108864\n",
    "memory/memory.soft_limit_in_bytes": "9223372036854771712\n",
    "memory/memory.memsw.limit_in_bytes": "100663296\n",
    "memory/memory.kmem.usage_in_bytes": "249856\n",
    "memory/memory.max_usage_in_bytes": "5173248\n",
    "memory/memory.failcnt": "12\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory/memory.stat": (
        "cache 1\nrss 2\nmapped_file 3\npgfault 1000\npgmajfault 1\nswap 4\ninactive_file 5\n"
        "hierarchical_memory_limit 67108864\ntotal_cache 3166208\ntotal_rss 61440\ntotal_mapped_file 4096\n"
        "total_pgfault 1121\ntotal_pgmajfault 3\ntotal_swap 8192\ntotal_inactive_file 3145728\n"
    ),
    "memory/cgroup.procs": "12\n",
    "memory/below/cgroup.procs": "11\n13\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": (
        "254:0 Read 12288\n254:0 Write 3145728\n254:0 Sync 0\n254:0 Async 3158016\n254:0 Total 3158016\nTotal 3158016\n"
    ),
    "blkio/blkio.throttle.io_serviced_recursive": "254:0 Read 3\n254:0 Write 24\n254:0 Total 27\nTotal 27\n",
    "pids/pids.current": "5\n",
    "pids/pids.max": "max\n",
    "hugetlb/hugetlb.2MB.usage_in_bytes": "4194304\n",
    "hugetlb/hugetlb.2MB.max_usage_in_bytes": "6291456\n",
    "hugetlb/hugetlb.2MB.rsvd.usage_in_bytes": "0\n",
    "hugetlb/hugetlb.1GB.usage_in_bytes": "0\n",
    "hugetlb/hugetlb.1GB.max_usage_in_bytes": "0\n",
}


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def v1(folder: Path, unified: Path | None = None) -> CgroupV1:
    return CgroupV1(lambda controller: f"{folder}/{controller}", None if unified is None else str(unified))


def v2(folder: Path) -> CgroupV2:
    return CgroupV2(str(folder))
