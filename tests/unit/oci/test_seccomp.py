"""The default profile, and profiles on the node."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.oci import seccomp, seccomp_calls
from podyard.oci.capabilities import DEFAULT, KNOWN
from podyard.oci.host import HostFacts
from podyard.oci.seccomp import default_profile, find_profile, linux_seccomp, read_profile

Facts = Callable[..., HostFacts]
Kinds = api.SecurityProfile
BLOCK = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}]}


NEEDED = """
    read openat2 execve mmap futex clock_gettime64 accept4 rseq statx getrandom memfd_create chroot
    landlock_add_rule pidfd_open prlimit64 ptrace signalfd4 epoll_pwait2 close_range arch_prctl
"""
REFUSED = """
    mount umount2 unshare setns pivot_root init_module kexec_load reboot swapon keyctl add_key request_key bpf
    perf_event_open userfaultfd io_uring_setup open_by_handle_at settimeofday iopl syslog nfsservctl quotactl acct
    move_pages fsopen vhangup set_tls
"""


def allowed(profile: dict[str, Any]) -> set[str]:
    """Calls that are let through whatever their arguments."""
    rules = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule]
    return {name for rule in rules for name in rule["names"]}


def rules_for(profile: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [rule for rule in profile["syscalls"] if name in rule["names"]]


@pytest.mark.parametrize("name", NEEDED.split())
def test_a_call_that_programs_need_is_let_through(name: str) -> None:
    assert name in allowed(default_profile(DEFAULT, "x86_64"))


@pytest.mark.parametrize("name", REFUSED.split())
def test_a_call_that_acts_on_the_host_is_not(name: str) -> None:
    profile = default_profile(DEFAULT, "x86_64")
    assert rules_for(profile, name) == []
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_SYS_ADMIN", "clone"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_MODULE", "init_module"),
        ("CAP_SYS_TIME", "settimeofday"),
        ("CAP_SYS_NICE", "mbind"),
        ("CAP_SYS_PTRACE", "kcmp"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_BPF", "bpf"),
    ],
)
def test_a_capability_brings_its_calls(capability: str, name: str) -> None:
    assert name not in allowed(default_profile(DEFAULT, "x86_64"))
    assert name in allowed(default_profile(DEFAULT | {capability}, "x86_64"))


def test_chroot_goes_with_its_capability() -> None:
    assert "chroot" not in allowed(default_profile(set(), "x86_64"))


def test_new_namespaces_are_told_by_the_flags_of_clone() -> None:
    profile = default_profile(DEFAULT, "x86_64")
    (clone,) = rules_for(profile, "clone")
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ", "valueTwo": 0}]
    assert rules_for(profile, "clone3") == [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    (on_s390,) = rules_for(default_profile(DEFAULT, "s390x"), "clone")
    assert on_s390["args"][0]["index"] == 1
    assert all("args" not in rule for rule in rules_for(default_profile(KNOWN, "x86_64"), "clone"))


def test_sockets_and_personalities_are_told_by_their_arguments() -> None:
    profile = default_profile(KNOWN, "aarch64")
    assert [rule["args"] for rule in rules_for(profile, "socket")] == [[{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]]
    assert [rule["args"][0]["value"] for rule in rules_for(profile, "personality")] == [
        0,
        8,
        0x20000,
        0x20008,
        0xFFFFFFFF,
    ]


def test_each_machine_has_its_architectures_and_calls() -> None:
    for machine, architectures in seccomp_calls.ARCHITECTURES.items():
        assert default_profile(DEFAULT, machine)["architectures"] == list(architectures)
    assert "set_tls" in allowed(default_profile(DEFAULT, "aarch64"))
    with pytest.raises(FailedPrecondition, match="no default seccomp profile for pdp11"):
        default_profile(DEFAULT, "pdp11")


def test_the_lists_name_each_call_once_and_capabilities_that_exist() -> None:
    assert len(set(seccomp_calls.ALWAYS)) == len(seccomp_calls.ALWAYS)
    assert set(seccomp_calls.BY_CAPABILITY) <= KNOWN
    guarded = {name for names in seccomp_calls.BY_CAPABILITY.values() for name in names.split()}
    assert guarded & set(seccomp_calls.ALWAYS) == set()


def container(
    kind: Kinds.ProfileType.ValueType | None = None, ref: str = "", path: str = "", privileged: bool = False
) -> api.LinuxContainerSecurityContext:
    security = api.LinuxContainerSecurityContext(seccomp_profile_path=path, privileged=privileged)
    if kind is not None:
        security.seccomp.CopyFrom(Kinds(profile_type=kind, localhost_ref=ref))
    return security


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        (container(), "none"),
        (container(path="unconfined"), "none"),
        (container(Kinds.Unconfined, path="runtime/default"), "none"),
        (container(path="runtime/default"), "default"),
        (container(path="docker/default"), "default"),
        (container(Kinds.RuntimeDefault, path="unconfined"), "default"),
        (container(Kinds.Localhost, "block.json"), "local"),
        (container(Kinds.Localhost, "localhost/block.json"), "local"),
        (container(path="localhost/block.json"), "local"),
        (container(Kinds.RuntimeDefault, privileged=True), "none"),
        (container(Kinds.Localhost, "not-there.json", privileged=True), "none"),
    ],
)
def test_which_profile_a_request_gets(
    facts: Facts, tmp_path: Path, security: api.LinuxContainerSecurityContext, expected: str
) -> None:
    (tmp_path / "block.json").write_text(json.dumps(BLOCK))
    local = find_profile(security, tmp_path)
    found = linux_seccomp(security, DEFAULT, local, facts())
    answers = {"none": None, "default": default_profile(DEFAULT, "x86_64"), "local": BLOCK}
    assert found == answers[expected]


def test_a_filter_on_a_kernel_without_any_is_refused(facts: Facts) -> None:
    with pytest.raises(FailedPrecondition, match="no seccomp"):
        linux_seccomp(container(Kinds.RuntimeDefault), DEFAULT, None, facts(seccomp=False))
    assert linux_seccomp(container(), DEFAULT, None, facts(seccomp=False)) is None


@pytest.mark.parametrize(
    ("security", "text"),
    [
        (container(Kinds.Localhost), "needs localhost_ref"),
        (container(Kinds.RuntimeDefault, "x"), "for profiles of type Localhost only"),
        (container(path="something"), "'something' is none of"),
        (container(path="localhost/"), "'localhost/' is none of"),
        (container(9), "no profile type 9"),  # type: ignore[arg-type]
    ],
)
def test_a_request_that_contradicts_itself_is_refused(
    tmp_path: Path, security: api.LinuxContainerSecurityContext, text: str
) -> None:
    with pytest.raises(InvalidArgument, match=text):
        find_profile(security, tmp_path)


def test_a_profile_on_the_node_comes_out_as_it_went_in(tmp_path: Path) -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 2**64 - 1, "valueTwo": 5, "op": "SCMP_CMP_MASKED_EQ"}],
            }
        ],
    }
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "p.json").write_text(json.dumps(document))
    assert read_profile("deep/p.json", tmp_path) == document
    assert read_profile(str(tmp_path / "deep" / "p.json"), Path("/nonexistent")) == document


def test_null_and_comments_are_fine(tmp_path: Path) -> None:
    document = {
        "comment": "c",
        "defaultAction": "SCMP_ACT_LOG",
        "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": None, "comment": "d"}],
    }
    (tmp_path / "p.json").write_text(json.dumps(document))
    plain = {"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW"}]}
    assert read_profile("p.json", tmp_path) == plain


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not one of OCI's form"),
        (b"[]", "Expected `object`"),
        (b"{}", "defaultAction"),
        (b'{"defaultAction": "ALLOW"}', "ALLOW"),
        (b'{"defaultAction": "SCMP_ACT_ALLOW", "archMap": []}', "archMap"),
        (b"[" * 200_000, "form"),
        (b" " * (seccomp.FILE_LIMIT + 1), "more than 1048576 bytes"),
        (b"\xff\xfe", "form"),
        (
            b'{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_ALLOW",'
            b' "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}',
            "includes",
        ),
    ],
)
def test_what_is_no_profile_is_refused_by_its_path(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(InvalidArgument, match=text) as caught:
        read_profile("p.json", tmp_path)
    assert str(tmp_path / "p.json") in str(caught.value)


@pytest.mark.parametrize("name", ["none.json", "../outside.json", "link.json", ".", "/no/such/profile", "a\0b"])
def test_a_profile_that_is_not_in_its_directory_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (tmp_path / "outside.json").write_text(json.dumps(BLOCK))
    (folder / "link.json").symlink_to("../outside.json")
    with pytest.raises(InvalidArgument, match="cannot read seccomp profile"):
        read_profile(name, folder)
