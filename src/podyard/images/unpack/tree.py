"""Members written into the process' root directory, as a layer of an overlay."""

# Names are bytes that need not be text, and a Path for each would cost a third of the speed.
# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH211

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from podyard.errors import InvalidArgument, NotFound
from podyard.images.unpack.below import OPAQUE, Below, Folder
from podyard.images.unpack.entries import Attributes, check, failure, write
from podyard.images.unpack.header import Member
from podyard.images.unpack.limits import Limits
from podyard.images.unpack.paths import WHITEOUT_PREFIX, Paths, clean, is_whiteout, shown
from podyard.images.unpack.reader import (
    BLOCK_DEVICE,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    HARD_LINK,
    SYMBOLIC_LINK,
)
from podyard.images.unpack.record import Recorder, Stretch
from podyard.images.unpack.stream import Source

_OPAQUE_NAME = b".wh..wh..opq"
_AUFS_PREFIX = b".wh..wh."
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_SPECIAL = 0o7000  # set-user-ID, set-group-ID, sticky
_MAJORS, _MINORS = 1 << 12, 1 << 20  # of Linux' device numbers


class Tree:
    """Writes an archive's members. The working directory and the root directory must be the layer's, the umask 0.

    Directories get their owner, mode and times in ``finish``: what is written into them later would change them.
    """

    def __init__(self, source: Source, below: Below, limits: Limits, recorder: Recorder | None = None) -> None:
        self._recorder = recorder
        self.size = 0
        self.inodes = 1
        self.attributes = Attributes()
        self._source = source
        self._below = below
        self._limits = limits
        self._paths = Paths(below, limits, self._imply)
        # By inode: a directory's path may be another's when it has been removed.
        self._folders: dict[int, tuple[bytes, Member | Folder]] = {}
        self._opaque_root = False
        self._writers = {
            HARD_LINK: self._hard_link,
            SYMBOLIC_LINK: self._symbolic_link,
            CHARACTER: self._device,
            BLOCK_DEVICE: self._device,
            FIFO: self._fifo,
        }

    def add(self, member: Member) -> None:
        """Write one member.

        Raises InvalidArgument for what no layer may hold, ResourceExhausted for a full disk, Internal for any other
        refusal of the kernel.
        """
        try:
            name = clean(member.name, self._limits)
            last = name[name.rfind(b"/") + 1 :]
            if _AUFS_PREFIX in name and b"/" + _AUFS_PREFIX in b"/" + name and last != _OPAQUE_NAME:
                return
            if last.startswith(WHITEOUT_PREFIX):
                self._hide(name, last)
                return
            check(member)
            if member.kind == FILE:
                self._file(member, self._paths.place(self._inside(name)))
            elif member.kind == FOLDER:
                self._folder(member, self._paths.place(name) if name else b"")
            else:
                self._writers[member.kind](member, self._paths.place(self._inside(name)))
        except OSError as error:
            raise failure(member.name, error) from error

    def finish(self) -> None:
        """Set what directories get last. Raises as ``add``."""
        path = b"."
        try:
            if self._opaque_root:
                self._hide_all_below()
            self._finish_root()
            for path, wanted in self._folders.values():
                self._finish_folder(path, wanted)
        except OSError as error:
            raise failure(path or b".", error) from error

    def _finish_root(self) -> None:
        """A root directory that the archive leaves out is as in the layers below, else root's with mode 0755."""
        inode = os.lstat(b".").st_ino
        if inode in self._folders:
            return
        below = self._below.root()
        if below is not None:
            self._folders[inode] = (b"", below)
        else:
            os.chown(b".", 0, 0)
            os.chmod(b".", 0o755)

    def _finish_folder(self, path: bytes, wanted: Member | Folder) -> None:
        if isinstance(wanted, Folder):
            if self._below.is_hidden(path):
                return
            status = wanted.status
            uid, gid, mode, mtime = status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_mtime_ns
        else:
            uid, gid, mode, mtime = wanted.uid, wanted.gid, wanted.mode, wanted.mtime
        path = path or b"."
        os.chown(path, uid, gid, follow_symlinks=False)
        os.chmod(path, mode)
        if wanted.xattrs:
            self.attributes.set(path, wanted.xattrs)
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)

    def _file(self, member: Member, path: bytes) -> None:
        try:
            file = os.open(path, _NEW, member.mode & 0o777)
        except FileExistsError:
            self._remove(path)
            file = os.open(path, _NEW, member.mode & 0o777)
        try:
            if member.segments is not None:
                self._write_pieces(file, member, path)
            else:
                if self._recorder is not None and member.size:
                    self._recorder.content(self._source.offset, Stretch(path, 0, member.size))
                for piece in self._source.pieces(member.size):
                    write(file, piece)
            # In this order: each of these takes away what the next ones set.
            if member.uid or member.gid:
                os.fchown(file, member.uid, member.gid)
            if member.mode & _SPECIAL:
                os.fchmod(file, member.mode)
            if member.xattrs:
                self.attributes.set(path, member.xattrs)
            os.utime(file, ns=(member.mtime, member.mtime))
        finally:
            os.close(file)
        self.size += member.size
        self.inodes += 1

    def _write_pieces(self, file: int, member: Member, path: bytes) -> None:
        # First, since this tells whether the file system can have such a file; a position beyond it is just "invalid".
        os.ftruncate(file, member.length)
        for offset, length in member.segments or ():
            if self._recorder is not None and length:
                self._recorder.content(self._source.offset, Stretch(path, offset, length))
            os.lseek(file, offset, os.SEEK_SET)
            for piece in self._source.pieces(length):
                write(file, piece)

    def _folder(self, member: Member, path: bytes) -> None:
        opaque = False
        if path and not self._make_folder(path):
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode):
                opaque = is_whiteout(status)
                self._remove(path)
                self._make_folder(path)
        self._folders[os.lstat(path or b".").st_ino] = (path, member)
        if opaque:
            self._make_opaque(path)

    def _make_folder(self, path: bytes) -> bool:
        """False when something is there."""
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            return False
        self._paths.made(path)
        self.inodes += 1
        return True

    def _imply(self, path: bytes, below: Folder | None, whiteout: bool) -> None:
        """Make a directory that the archive leaves out as the layers below have it, else as root's with mode 0755."""
        if whiteout:
            self._remove(path)
        self._make_folder(path)
        if whiteout:
            self._make_opaque(path)
        if below is not None:
            self._folders[os.lstat(path).st_ino] = (path, below)

    def _hard_link(self, member: Member, path: bytes) -> None:
        found: os.stat_result | None = None
        try:
            target = self._paths.existing(self._inside(clean(member.link, self._limits)))
            found = os.lstat(target)
        except (FileNotFoundError, NotFound):
            pass
        if found is None or is_whiteout(found) or target.startswith(path + b"/"):
            # Also what goes away with the directory that the link replaces.
            raise InvalidArgument(
                f"the layer's entry {shown(member.name)} is a hard link to {shown(member.link)}, which the layer does "
                "not have before it"
            )
        if stat.S_ISDIR(found.st_mode):
            raise InvalidArgument(
                f"the layer's entry {shown(member.name)} is a hard link to {shown(member.link)}, which is a directory"
            )
        try:
            os.link(target, path, follow_symlinks=False)
        except FileExistsError:
            if os.lstat(path).st_ino == found.st_ino:
                return
            self._remove(path)
            os.link(target, path, follow_symlinks=False)

    def _symbolic_link(self, member: Member, path: bytes) -> None:
        if not member.link or len(member.link) > self._limits.path:
            raise InvalidArgument(
                f"the layer's entry {shown(member.name)} is a symbolic link with a target of {len(member.link)} bytes: "
                f"1 to {self._limits.path} may be"
            )
        self._new(path, lambda: os.symlink(member.link, path))
        if member.uid or member.gid:
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
        self._mark(member, path)

    def _device(self, member: Member, path: bytes) -> None:
        major, minor = member.device or (0, 0)
        if not (0 <= major < _MAJORS and 0 <= minor < _MINORS):
            raise InvalidArgument(f"the layer's entry {shown(member.name)} has the device number {major}:{minor}")
        kind = stat.S_IFCHR if member.kind == CHARACTER else stat.S_IFBLK
        self._new(path, lambda: os.mknod(path, kind | member.mode & 0o777, os.makedev(major, minor)))
        self._own(member, path)

    def _fifo(self, member: Member, path: bytes) -> None:
        self._new(path, lambda: os.mkfifo(path, member.mode & 0o777))
        self._own(member, path)

    def _own(self, member: Member, path: bytes) -> None:
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        os.chmod(path, member.mode)
        self._mark(member, path)

    def _mark(self, member: Member, path: bytes) -> None:
        if member.xattrs:
            self.attributes.set(path, member.xattrs)
        os.utime(path, ns=(member.mtime, member.mtime), follow_symlinks=False)

    def _new(self, path: bytes, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._remove(path)
            make()
        self.inodes += 1

    def _hide(self, name: bytes, last: bytes) -> None:
        """A whiteout: what the layers below have at a name is hidden, what this layer has is not (OCI image layers)."""
        if last == _OPAQUE_NAME:
            folder = self._paths.place(name).rpartition(b"/")[0]
            self._make_opaque(folder)
            return
        hidden = last[len(WHITEOUT_PREFIX) :]
        if hidden in {b"", b".", b".."}:
            raise InvalidArgument(f"the layer's entry {shown(name)} is a whiteout of {shown(hidden)}")
        path = self._paths.place(name[: len(name) - len(last)] + hidden)
        try:
            os.mknod(path, stat.S_IFCHR)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                self._make_opaque(path)
        else:
            self.inodes += 1

    def _make_opaque(self, path: bytes) -> None:
        self._below.hide(path)
        self._paths.hidden()
        if path:
            os.setxattr(path, OPAQUE, b"y", follow_symlinks=False)
            self.attributes.used = True
        else:
            self._opaque_root = True

    def _hide_all_below(self) -> None:
        # An overlay does not look at the mark of a layer's root directory: each name in it is hidden by itself.
        for name in self._below.names():
            try:
                os.mknod(name, stat.S_IFCHR)
            except FileExistsError:
                if stat.S_ISDIR(os.lstat(name).st_mode):
                    self._make_opaque(name)
            else:
                self.inodes += 1

    def _inside(self, name: bytes) -> bytes:
        if not name:
            raise InvalidArgument("an entry of the layer that is not a directory has the root directory's name")
        return name

    def _remove(self, path: bytes) -> None:
        """Take away what an earlier member left at a canonical path, which a later one replaces."""
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            self._unlink(path, status)
            if stat.S_ISLNK(status.st_mode):
                self._paths.removed()
            return
        folders = [path]
        for folder in folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        self._unlink(entry.path, entry.stat(follow_symlinks=False))
        for folder in reversed(folders):
            self._folders.pop(os.lstat(folder).st_ino, None)
            os.rmdir(folder)
            self.inodes -= 1
        self._paths.removed()

    def _unlink(self, path: bytes, status: os.stat_result) -> None:
        os.unlink(path)
        if self._recorder is not None and stat.S_ISREG(status.st_mode) and status.st_size:
            self._recorder.lose()
        if status.st_nlink == 1:
            self.inodes -= 1
            if stat.S_ISREG(status.st_mode):
                self.size -= min(self.size, status.st_size, 512 * status.st_blocks)
