"""Which OCI runtime works on this host: found by running a trial container, not by its name or version.

crun 1.8 refuses hosts whose v1 and v2 cgroup trees share the controllers in its own way, others lack a system call or a
library: no list of conditions tells as much as a container that ran.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from podyard.errors import FailedPrecondition, Internal, PodyardError
from podyard.linux import cgroups, idmap, mounts, process, userns
from podyard.oci import idmaps, runtime
from podyard.oci.runtime import OciRuntime

TRIAL_LIMIT = 20.0

_TRIAL_RANGE = userns.Range(inside=0, outside=100_000, length=65_536)
TRIAL_MAP = userns.IdMap((_TRIAL_RANGE,), (_TRIAL_RANGE,))
"""Any map will do that root on the host is not in."""


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
    with _trial_bundle(candidate, init) as bundle:
        await _run_trial(candidate, bundle, _trial_spec(cgroup), cgroup)


async def no_user_namespaces(candidate: OciRuntime, init: Path, cgroup: str, layers: Path) -> str:
    """Why a runtime runs no container in a user namespace here, found by a trial; "" if it does.

    ``layers``: a directory of the file system that has the images' layers: what can be mapped is a matter of that one.
    """
    try:
        with _trial_bundle(candidate, init) as bundle:
            await _try_user_namespace(candidate, bundle, cgroup, layers)
    except (PodyardError, OSError) as error:
        return str(error)
    return ""


async def _try_user_namespace(candidate: OciRuntime, bundle: Path, cgroup: str, layers: Path) -> None:
    closed = next((parent for parent in bundle.resolve().parents if not parent.stat().st_mode & stat.S_IXOTH), None)
    if closed is not None:
        raise FailedPrecondition(
            f"others may not pass through {closed}, and the root of a user namespace must, to reach its root file "
            f"system: run `chmod o+x {closed}`, or use another run directory"
        )
    with tempfile.TemporaryDirectory(prefix="trial-", dir=layers) as layer, userns.held(TRIAL_MAP) as pid:
        path = f"/proc/{pid}/ns/user"
        _mount_mapped(bundle / "rootfs", Path(layer, "root"), path)
        spec = _trial_spec(cgroup)
        linux: dict[str, Any] = spec["linux"]
        linux["namespaces"].append({"type": "user", "path": path})
        linux.update(idmaps.documents(TRIAL_MAP))
        await _run_trial(candidate, bundle, spec, cgroup)


def _mount_mapped(root: Path, layer: Path, user_namespace: str) -> None:
    """Put ``root`` aside as a layer and mount it again with mapped owners; change them where that cannot be."""
    shutil.copytree(root, layer)
    with open(user_namespace, "rb") as file:
        try:
            idmap.private_bind(str(layer), root, userns=file.fileno())
        except OSError:
            idmap.change_owners(root, TRIAL_MAP)


@contextlib.contextmanager
def _trial_bundle(candidate: OciRuntime, init: Path) -> Iterator[Path]:
    candidate.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    bundle = candidate.root.parent / f"{candidate.name}-trial"
    mounts.remove_tree(bundle)  # a daemon that was killed may have left one
    try:
        # As those of containers: the root of a user namespace is nobody here, and must reach its root file system.
        (bundle / "rootfs").mkdir(parents=True)
        bundle.chmod(0o711)
        shutil.copy2(init, bundle / "rootfs" / "init")
        for folder in ("proc", "dev"):
            (bundle / "rootfs" / folder).mkdir()
        yield bundle
    finally:
        mounts.remove_tree(bundle)


async def _run_trial(candidate: OciRuntime, bundle: Path, spec: dict[str, Any], cgroup: str) -> None:
    container_id = "podyard-trial"
    (bundle / "config.json").write_text(json.dumps(spec), encoding="utf-8")
    argv = [str(candidate.path), *candidate.global_options, "run", "--bundle", str(bundle), container_id]
    try:
        result = await process.run(argv, limit=TRIAL_LIMIT)
    finally:
        with contextlib.suppress(PodyardError):
            await candidate.delete(container_id)
        if not candidate.systemd:
            await asyncio.to_thread(cgroups.remove, cgroup)
    if result.code != 0:
        raise Internal(f"a trial container failed: {runtime.message(result.stderr)}")


def _trial_spec(cgroup: str) -> dict[str, Any]:
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
