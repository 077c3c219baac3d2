"""The AppArmor profile of containers that name none, and which profiles the kernel has (apparmor.d(5)).

Blocking: it reads the kernel's list and runs apparmor_parser.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from podyard.errors import FailedPrecondition

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
LOADED = Path("/sys/kernel/security/apparmor/profiles")
DEFAULT = "podyard-default"
PARSER_LIMIT = 30.0
"""Seconds to compile one small profile; on an idle machine it takes 50 ms."""

PROFILE = f"""abi <abi/3.0>,
include <tunables/global>

profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,

  # podyard and the OCI runtime, which are not confined, may end what runs here; it may signal only its like.
  signal (receive) peer=unconfined,
  signal (receive) peer={{crun,runc}},
  signal (send, receive) peer={DEFAULT},
  ptrace (trace, read, tracedby, readby) peer={DEFAULT},

  # Settings of the whole host. What a pod may set for itself is set before its containers begin.
  deny @{{PROC}}/sys/[^kn]** w,
  deny @{{PROC}}/sys/kernel/{{,**}} w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,
  deny @{{PROC}}/kmem rwklx,
  deny @{{PROC}}/mem rwklx,

  # Of /sys a container needs to write nothing but what is below its own cgroup.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,

  # Mounts would let a container with CAP_SYS_ADMIN show the host's kernel files under other paths.
  deny mount,
}}
"""


def enabled() -> bool:
    """Whether the kernel enforces AppArmor."""
    return ENABLED.exists() and ENABLED.read_text(encoding="ascii").startswith("Y")


def loaded(listing: Path = LOADED) -> frozenset[str]:
    """The names of the profiles that the kernel has.

    Raises FailedPrecondition when the list cannot be read: securityfs is not mounted.
    """
    try:
        lines = listing.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise FailedPrecondition(f"cannot read which AppArmor profiles are loaded ({listing}): {error}") from error
    return frozenset(line.rpartition(" (")[0] for line in lines)


def load_default() -> str:
    """Load the default profile, also over one of an older podyard; its name.

    Raises FailedPrecondition, with the parser's words, when it cannot.
    """
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if parser is None:
        raise FailedPrecondition("apparmor_parser is not installed (Debian: apt-get install apparmor)")
    try:
        done = subprocess.run(
            [parser, "--replace", "--skip-cache"],
            input=PROFILE,
            capture_output=True,
            text=True,
            timeout=PARSER_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedPrecondition(f"apparmor_parser does not work: {error}") from error
    if done.returncode != 0:
        raise FailedPrecondition(f"apparmor_parser refuses the profile {DEFAULT}: {done.stderr.strip()}")
    return DEFAULT
