"""Which OCI runtime works on this host: found by running a trial container, not by its name or version.

crun 1.8 refuses hosts whose v1 and v2 cgroup trees share the controllers in its own way, others lack a system call or a
library: no list of conditions tells as much as a container that ran.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import FailedPrecondition, Internal, PodyardError
from podyard.linux import cgroups, process
from podyard.oci import runtime
from podyard.oci.runtime import OciRuntime

TRIAL_LIMIT = 20.0

RECURSIVE_READ_ONLY = "rro"
"""The mount option of recursive read-only bind mounts (OCI runtime spec features, mountOptions)."""


@dataclass(frozen=True)
class Features:
    """What a runtime says of itself with its ``features`` verb; one without that verb offers none of them."""

    recursive_read_only_mounts: bool = False


def find_binary(name: str, package: str) -> Path:
    """The path of a host tool. Raises FailedPrecondition, naming Debian's package, where it is not installed."""
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise FailedPrecondition(f"{name} is not installed; install it (Debian: apt-get install {package})")
    return Path(found)


async def first_working(candidates: Sequence[OciRuntime], init: Path, cgroup: str) -> tuple[OciRuntime, list[str]]:
    """The first candidate that runs a trial container, and why each one before it was not taken.

    ``init``: a static binary that the trial runs (it prints its version). ``cgroup``: the trial's cgroup, as the OCI
    spec has it.

    Raises FailedPrecondition with every candidate's reason when none works.
    """
    refused: list[str] = []
    for candidate in candidates:
        try:
            await try_runtime(candidate, init, cgroup)
        except PodyardError as error:
            refused.append(f"{candidate.name}: {error}")
        else:
            return candidate, refused
    raise FailedPrecondition(
        "no OCI runtime works on this host: "
        + ("; ".join(refused) or "none of the configured ones is installed (Debian: apt-get install crun)")
    )


async def try_runtime(candidate: OciRuntime, init: Path, cgroup: str) -> None:
    """Run a trial container. Raises Internal with the runtime's own words when it does not come to a good end."""
    container_id = "podyard-trial"
    candidate.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="podyard-trial-", dir=candidate.root.parent) as folder:
        bundle = Path(folder)
        (bundle / "rootfs").mkdir()
        shutil.copy2(init, bundle / "rootfs" / "init")
        (bundle / "config.json").write_text(json.dumps(_trial_spec(cgroup)), encoding="utf-8")
        argv = [str(candidate.path), *candidate.global_options, "run", "--bundle", folder, container_id]
        try:
            result = await process.run(argv, limit=TRIAL_LIMIT)
        finally:
            with contextlib.suppress(PodyardError):
                await candidate.delete(container_id)
            if not candidate.systemd:
                cgroups.remove(cgroup)
    if result.code != 0:
        raise Internal(f"a trial container failed: {runtime.message(result.stderr)}")


async def features(candidate: OciRuntime) -> Features:
    """What the runtime says that it can do."""
    result = await process.run([str(candidate.path), "features"], limit=TRIAL_LIMIT)
    if result.code != 0:
        return Features()
    options = json.loads(result.stdout).get("mountOptions") or []
    return Features(recursive_read_only_mounts=RECURSIVE_READ_ONLY in options)


def _trial_spec(cgroup: str) -> dict[str, object]:
    kinds = ("pid", "network", "ipc", "uts", "mount")
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": True},
        "process": {
            "cwd": "/",
            "args": ["/init", "-V"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {},
            "noNewPrivileges": True,
        },
        # crun makes its device nodes in a /dev that must be there; runc would make one in the root.
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": kind} for kind in kinds],
            "resources": {"memory": {"limit": 1 << 26}, "pids": {"limit": 64}},
        },
    }
