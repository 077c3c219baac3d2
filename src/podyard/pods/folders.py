"""Where the files of a Pod are on this host, and the lock that one Pod's starters share."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import InvalidArgument, PermissionDenied, ResourceExhausted, translate

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]*")
_LOCK_TRIES = 20
_ENDPOINT = "endpoint"


@dataclass(frozen=True)
class PodFolder:
    """The directories of one Pod. Nothing here need exist."""

    path: Path
    """What podyard makes for it: volumes and managed files."""
    logs: Path
    """Its containers' logs, in the kubelet's scheme: ``CONTAINER/ATTEMPT.log``."""

    @property
    def hosts(self) -> Path:
        """Its /etc/hosts."""
        return self.path / "etc-hosts"

    @property
    def stopping(self) -> Path:
        """A file that is there from the moment on in which somebody stops the Pod."""
        return self.path / "stopping"

    @property
    def verdict(self) -> Path:
        """A file that says why the Pod was ended for good, where that was done to it."""
        return self.path / "verdict"

    @property
    def endpoint(self) -> Path:
        """A file that names the endpoint that the Pod was made on."""
        return self.path / _ENDPOINT

    @property
    def volumes(self) -> Path:
        """Its volumes that podyard makes."""
        return self.path / "volumes"

    def volume(self, volume: str) -> Path:
        """A volume that podyard makes: an emptyDir, or one whose files it writes."""
        return self.volumes / volume

    def container(self, name: str, attempt: int) -> Path:
        """What belongs to one attempt at a container."""
        return self.path / "containers" / name / str(attempt)

    def termination_message(self, name: str, attempt: int) -> Path:
        """The file that the container writes its last words to."""
        return self.container(name, attempt) / "termination-message"

    def resources(self, name: str, attempt: int) -> Path:
        """The limits that a container was given last."""
        return self.container(name, attempt) / "resources"

    def sub_path(self, name: str, attempt: int, index: int) -> Path:
        """The mount point for the ``index``-th volume mount, which uses a part of its volume."""
        return self.container(name, attempt) / f"subpath-{index}"


class Folders:
    """Finds Pods' directories below ``root`` and ``log_root``: ``NAMESPACE_NAME_UID`` in both."""

    def __init__(self, root: Path, log_root: Path) -> None:
        self.root = root
        self.log_root = log_root

    def of(self, namespace: str, name: str, uid: str) -> PodFolder:
        """The directories of one Pod. Raises InvalidArgument when a part could lead elsewhere.

        The parts may come from an endpoint's labels, so they are not to be trusted.
        """
        for part in (namespace, name, uid):
            if not _PART.fullmatch(part):
                raise InvalidArgument(f"pod {namespace}/{name} (uid {uid!r}): {part!r} cannot be part of a file name")
        return PodFolder(self.root / f"{namespace}_{name}_{uid}", self.log_root / f"{namespace}_{name}_{uid}")

    def announce_stop(self, namespace: str, name: str, uid: str) -> None:
        """Tell whoever supervises the Pod that its containers end because they are to end.

        A Pod that podyard did not make has no supervisor here and no directory. A full disk keeps no Pod from being
        stopped: a supervisor may then start a container once more, until the sandbox is stopped.
        """
        try:
            self.of(namespace, name, uid).stopping.touch()
        except (InvalidArgument, FileNotFoundError):
            return
        except PermissionError as error:
            raise PermissionDenied(f"cannot write below {self.root}: Pods are stopped by root") from error
        except OSError as error:
            failure = translate(error, f"announcing the stop of {namespace}/{name}")
            if not isinstance(failure, ResourceExhausted):
                raise failure from error

    def left(self, namespace: str, name: str, endpoint: str) -> list[Path]:
        """All directories of Pods of that name, whether the endpoint still knows them or not. For a thread.

        Those of Pods that were made on another endpoint are that one's: they may run.
        """
        prefix = f"{namespace}_{name}_"
        others = {entry.name for entry in _entries(self.root, prefix) if _made_on(entry) not in ("", endpoint)}
        found = [entry for folder in (self.root, self.log_root) for entry in _entries(folder, prefix)]
        return [entry for entry in found if entry.name not in others]

    def made_on(self, endpoint: str) -> list[tuple[str, str, str]]:
        """The Pods that have directories and were made on an endpoint: namespace, name, uid. For a thread."""
        found = []
        for entry in _entries(self.root, ""):
            parts = entry.name.split("_")
            if len(parts) == 3 and all(map(_PART.fullmatch, parts)):
                namespace, name, uid = parts
                if _made_on(entry) == endpoint:
                    found.append((namespace, name, uid))
        return found

    @contextmanager
    def exclusive(self, namespace: str, name: str) -> Iterator[bool]:
        """Hold the lock of a Pod's name, if it is free: whether it is held. The lock goes with the process.

        Raises PermissionDenied when ``root`` cannot be written, ResourceExhausted when its disk is full.
        """
        path = self.root / f".lock_{namespace}_{name}"
        try:
            self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = _try_lock(path)
        except PermissionError as error:
            raise PermissionDenied(f"cannot write below {self.root}: Pods are started by root") from error
        except OSError as error:
            raise translate(error, f"taking the lock {path}") from error
        try:
            yield lock is not None
        finally:
            if lock is not None:
                path.unlink(missing_ok=True)
                os.close(lock)


def _try_lock(path: Path) -> int | None:
    for _ in range(_LOCK_TRIES):
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before removed the file: a lock on that one keeps nobody out.
            if path.stat().st_ino == os.fstat(lock).st_ino:
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            pass
        os.close(lock)
    return None


def _made_on(path: Path) -> str:
    """The endpoint that the Pod of a directory was made on; "" where nothing says so."""
    try:
        return (path / _ENDPOINT).read_text(encoding="utf-8")
    except OSError:
        return ""  # made before there was such a file, or being removed


def _entries(folder: Path, prefix: str) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.name.startswith(prefix))
    except FileNotFoundError:
        return []
