"""An OCI runtime's verbs (crun, runc and others that take the same command line)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import FailedPrecondition, Internal, InvalidArgument, NotFound, Unimplemented
from podyard.linux import process

_FRAMED = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
"""The message in a line of runc's log; other fields stand around it."""

VERB_LIMIT = 60.0
"""Seconds that one verb may take; on an idle machine they take milliseconds."""

REFUSED = ("invalid argument", "numerical result out of range", "permission denied", "no such device")
"""How runtimes word it when a write to a cgroup's file fails for its value (EINVAL, ERANGE, EACCES, ENODEV)."""

NO_CRIU = ("unknown command", "not implemented", "not supported", "without criu")
"""How runtimes word it when they were built without CRIU."""

CRIU_OPTIONS = ("--tcp-established", "--ext-unix-sk", "--file-locks")
"""What of a process' surroundings is saved and restored too, instead of being a reason to refuse."""


@dataclass(frozen=True)
class OciRuntime:
    """``path``: the binary. ``root``: the directory of its own state. ``systemd``: it asks systemd for cgroups.

    One binary with different options is several runtimes, each with a state directory of its own.
    """

    path: Path
    root: Path
    options: tuple[str, ...] = ()
    systemd: bool = False

    @property
    def name(self) -> str:
        """What records call it by: the name of its state directory."""
        return self.root.name

    @property
    def global_options(self) -> list[str]:
        """What stands before a verb."""
        systemd = ["--systemd-cgroup"] if self.systemd else []
        # What runc warns of while it creates a container would stand in the container's log. Errors are on standard
        # error in any case.
        quiet = ["--log=/dev/null"] if self.path.name == "runc" else []
        return [f"--root={self.root}", *systemd, *quiet, *self.options]

    async def start(self, container_id: str) -> None:
        """Let a created container's process run. Raises Internal with the runtime's own words."""
        await self._verb("start", container_id)

    async def delete(self, container_id: str) -> None:
        """Kill what is left of a container and forget it; one that the runtime does not know is fine."""
        try:
            await self._verb("delete", "--force", container_id)
        except NotFound:
            return

    async def state(self, container_id: str) -> str:
        """ "creating", "created", "running", "stopped" or "paused" (OCI runtime spec, State); NotFound if unknown."""
        answer = await self._verb("state", container_id)
        status: str = json.loads(answer)["status"]
        return status

    async def update(self, container_id: str, resources: Path) -> None:
        """Change a container's limits to those in a file: OCI ``linux.resources`` as JSON.

        Raises InvalidArgument where the kernel refused a value, NotFound, Internal with the runtime's own words.
        """
        try:
            await self._verb("update", "--resources", str(resources), container_id)
        except Internal as error:
            if any(text in str(error).lower() for text in REFUSED):
                raise InvalidArgument(f"the kernel refuses a limit: {error}") from error
            raise

    async def checkpoint(self, container_id: str, images: Path, work: Path, *, limit: float) -> None:
        """Save a running container's processes in ``images``, through CRIU, whose log goes to ``work``; they go on.

        ``limit``: seconds. Raises Unimplemented where this runtime knows no checkpoints, FailedPrecondition with its
        and CRIU's reason where it cannot be done (CRIU is missing, or does not work on this kernel), NotFound,
        DeadlineExceeded.
        """
        folders = [f"--image-path={images}", f"--work-path={work}"]
        try:
            await self._verb("checkpoint", *folders, "--leave-running", *CRIU_OPTIONS, container_id, limit=limit)
        except Internal as error:
            if any(text in str(error).lower() for text in NO_CRIU):
                raise Unimplemented(f"{self.path} was built without checkpoints (CRIU): {error}") from error
            raise FailedPrecondition(f"the container cannot be checkpointed on this host: {error}") from error

    async def pause(self, container_id: str) -> None:
        """Let none of a running container's processes run. Raises Internal with the runtime's own words."""
        await self._verb("pause", container_id)

    async def resume(self, container_id: str) -> None:
        """Let a paused container go on. Raises Internal with the runtime's own words."""
        await self._verb("resume", container_id)

    async def _verb(self, verb: str, *arguments: str, limit: float = VERB_LIMIT) -> bytes:
        result = await process.run([str(self.path), *self.global_options, verb, *arguments], limit=limit)
        if result.code == 0:
            return result.stdout
        text = message(result.stderr)
        if "does not exist" in text or "No such file or directory" in text:
            raise NotFound(f"{self.path.name} does not know container {arguments[-1]}: {text}")
        raise Internal(f"{self.path.name} {verb} {arguments[-1]} failed: {text}")


def message(stderr: bytes) -> str:
    """What a runtime said went wrong: the last line that it wrote, without its logging frame."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        return "it said nothing"
    last = lines[-1]
    if last.startswith("{"):
        try:
            last = json.loads(last)["msg"]
        except (ValueError, KeyError):
            return last
    framed = _FRAMED.search(last)
    return framed[1].replace('\\"', '"') if framed else last
