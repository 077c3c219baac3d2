"""Seccomp: a process denies itself system calls (seccomp(2)). libseccomp knows their numbers on each architecture.

It is for what Landlock does not restrict or a kernel does not have: with CAP_SYS_ADMIN a process could mount proc or
devtmpfs where nobody sees it, and change files of the host through it.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os

REFUSED = """
    mount umount umount2 pivot_root chroot fsopen fsconfig fsmount fspick open_tree open_tree_attr move_mount
    mount_setattr
    setns unshare fork vfork clone clone3 execve execveat
    ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_open pidfd_getfd pidfd_send_signal
    kill tkill rt_sigqueueinfo rt_tgsigqueueinfo setpriority sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler ioprio_set migrate_pages move_pages kcmp
    socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register fanotify_init open_by_handle_at
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct syslog lookup_dcookie
    quotactl quotactl_fd nfsservctl vhangup iopl ioperm sethostname setdomainname
    settimeofday clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex
    add_key request_key keyctl
"""
"""What a process that reads files and writes files never calls: it acts on mounts, namespaces, other processes, the
network, or the whole host."""

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp(2): SECCOMP_RET_…
_UNKNOWN = -1
_INSTRUCTION = 8  # bytes of struct sock_filter
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


class _Program(ctypes.Structure):
    """struct sock_fprog of seccomp(2)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@functools.cache
def program() -> bytes:
    """The filter, for the kernel. Made once; it needs libseccomp's file, and so the host's root directory.

    Empty when the host has no libseccomp: its OCI runtime cannot confine containers then, either. Raises OSError.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return b""
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    try:
        for name in REFUSED.split():
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number != _UNKNOWN:
                refuse = ctypes.c_uint32(_ERRNO | errno.EPERM)
                _check(library.seccomp_rule_add_array(context, refuse, ctypes.c_int(number), 0, None))
        file = os.memfd_create("seccomp")
        try:
            _check(library.seccomp_export_bpf(context, file))
            return os.pread(file, os.fstat(file).st_size, 0)
        finally:
            os.close(file)
    finally:
        library.seccomp_release(context)


def restrict() -> bool:
    """Refuse ``REFUSED`` to the calling thread with EPERM, for good. no_new_privs must be set.

    False when the host has no libseccomp. Raises OSError when the kernel refuses.
    """
    code = program()
    if not code:
        return False
    wanted = _Program(len(code) // _INSTRUCTION, code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(wanted), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl(PR_SET_SECCOMP)")
    return True


def _check(result: int) -> None:
    """libseccomp's functions return a negative error number."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), "libseccomp")
