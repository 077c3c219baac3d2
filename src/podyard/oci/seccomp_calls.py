"""Which system calls the default seccomp profile lets through: data alone (the rules made of it are in seccomp.py).

The line drawn here: a call is in when an ordinary program may need it and the kernel confines it to what the process
may touch anyway (syscalls(2)). Out are calls that act on the whole host (modules, kexec, swap, clocks, keyrings, which
have no namespace), that make namespaces or mounts, old ones that no C library uses, and io_uring, which does file and
network work past this filter. Some of them come back with the capability that the kernel itself asks for.

Names are those of all architectures together: the OCI runtime leaves out what its own does not have. The suffixes tell
32-bit variants: "32" (ids), "64" (file sizes), "_time64" (time after 2038).
"""

from __future__ import annotations

FILES = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
    fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat ioctl lchown lchown32 lgetxattr link linkat
    listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat
    name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead
    readdir readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64
    setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range
    sync_file_range2 syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes
    vmsplice write writev file_getattr file_setattr cachestat
"""

WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
    io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect pipe pipe2 poll ppoll ppoll_time64
    pselect6 pselect6_time64 select signalfd signalfd4
"""

MEMORY = """
    brk get_thread_area madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall
    mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    process_mrelease remap_file_pages set_thread_area
"""

PROCESSES = """
    execve execveat exit exit_group fork getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid
    get_robust_list getcpu ioprio_get ioprio_set kill pidfd_open pidfd_send_signal prctl prlimit64 ptrace
    process_vm_readv process_vm_writev restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
    set_robust_list set_tid_address setpgid setpriority setrlimit setsid sigaction sigaltstack signal sigpending
    sigprocmask sigreturn sigsuspend sysinfo tgkill times tkill ugetrlimit uname uretprobe vfork wait4 waitid waitpid
"""

IDENTITY = """
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
    getresuid getresuid32 getuid getuid32 landlock_add_rule landlock_create_ruleset landlock_restrict_self
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid
    setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setuid setuid32
"""

TIME = """
    alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
    clock_adjtime clock_adjtime64 adjtimex getitimer gettimeofday nanosleep pause setitimer time timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""
"""adjtimex(2) and clock_adjtime(2) also read; to change a clock takes CAP_SYS_TIME, which the kernel checks."""

NETWORK = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
    recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""
"""socket(2) itself is decided by its arguments."""

IPC = """
    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd
    semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""

RANDOM = "getrandom"

ALWAYS: tuple[str, ...] = tuple(
    sorted(" ".join((FILES, WAITING, MEMORY, PROCESSES, IDENTITY, TIME, NETWORK, IPC, RANDOM)).split())
)
"""Let through whatever the arguments and capabilities."""

BY_CAPABILITY: dict[str, str] = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount mount_setattr
        move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns
        statmount umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}
"""What a capability in the bounding set lets through besides (capabilities(7))."""

ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
}
"""By machine (uname -m): its own architecture first, then those whose programs the kernel runs as well (seccomp(2):
a filter that does not look at the architecture can be passed by)."""

BY_MACHINE: dict[str, str] = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls",
    "riscv64": "riscv_flush_icache riscv_hwprobe",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}
"""Calls that only one machine has, for its own C library and debuggers."""
