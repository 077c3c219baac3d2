"""Archives that try to leave their root, or that no layer may be; each with its expected outcome."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.unit.images.unpack.archives import (
    END,
    base256,
    file,
    folder,
    hardlink,
    header,
    longname,
    pax,
    symlink,
)
from tests.unit.images.unpack.cases import harmless, refused

from podyard.errors import InvalidArgument


def _is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _empty(target: Path) -> bool:
    return not list(target.iterdir())


ESCAPES = [
    refused("a name with ..", InvalidArgument, "leaves the root", file(b"../escaped")),
    refused("a name with .. further in", InvalidArgument, "leaves the root", file(b"a/../../escaped")),
    refused("an absolute name with ..", InvalidArgument, "leaves the root", file(b"/../escaped")),
    refused("a directory ..", InvalidArgument, "leaves the root", folder(b"..", mode=0o777)),
    refused("a directory ../", InvalidArgument, "leaves the root", folder(b"../", mode=0o777)),
    refused("a symbolic link named ..", InvalidArgument, "leaves the root", symlink(b"../x", b"/etc")),
    refused("a device named ..", InvalidArgument, "leaves the root", header(b"../null", b"3", device=(1, 3))),
    refused("a fifo named ..", InvalidArgument, "leaves the root", header(b"../fifo", b"6")),
    refused("a hard link named ..", InvalidArgument, "leaves the root", file(b"a") + hardlink(b"../b", b"a")),
    refused("a hard link to ..", InvalidArgument, "leaves the root", hardlink(b"a", b"../outside/secret")),
    refused("a PAX path with ..", InvalidArgument, "leaves the root", pax((b"path", b"../escaped")) + file(b"a")),
    refused("a global PAX path", InvalidArgument, "leaves the root", pax((b"path", b"../x"), kind=b"g") + file(b"a")),
    refused("a GNU long name with ..", InvalidArgument, "leaves the root", longname(b"../escaped") + file(b"a")),
    refused("a ustar prefix with ..", InvalidArgument, "leaves the root", file(b"escaped", prefix=b"../..")),
    refused(
        "a sparse name with ..",
        InvalidArgument,
        "leaves the root",
        pax((b"GNU.sparse.name", b"../x"), (b"GNU.sparse.size", b"4"), (b"GNU.sparse.map", b"0,4")) + file(b"a"),
    ),
    refused("a whiteout with .. before it", InvalidArgument, "leaves the root", file(b"../.wh.secret", b"")),
    harmless(
        "an absolute name", lambda target: not _empty(target), lambda outside: file(outside + b"/secret", b"evil")
    ),
    harmless("a name with ... and spaces", lambda target: (target / "... /x").exists(), file(b"... /x")),
    harmless("a name with .. that stays inside", lambda target: (target / "b").exists(), file(b"a/../b")),
    harmless(
        "a symbolic link to the outside, then a file through it",
        lambda target: (target / "l").is_symlink(),
        lambda outside: symlink(b"l", outside) + file(b"l/secret", b"evil"),
    ),
    harmless(
        "a relative link to the outside, then a file through it",
        lambda target: (target / "outside/secret").exists(),
        symlink(b"l", b"../../../../outside") + file(b"l/secret", b"evil"),
    ),
    harmless(
        "a link to the root, then a file through it",
        lambda target: (target / "f").exists(),
        symlink(b"l", b"/") + file(b"l/f"),
    ),
    harmless(
        "a chain of links to the outside",
        lambda target: (target / "a").is_symlink(),
        lambda outside: (
            symlink(b"a", b"b")
            + symlink(b"b", b"c/d")
            + folder(b"c")
            + symlink(b"c/d", outside)
            + file(b"a/secret", b"evil")
        ),
    ),
    harmless(
        "a file over a link to the outside",
        lambda target: (target / "l").read_bytes() == b"evil",
        lambda outside: symlink(b"l", outside + b"/secret") + file(b"l", b"evil"),
    ),
    harmless(
        "a directory over a link to the outside",
        lambda target: not (target / "l").is_symlink(),
        lambda outside: symlink(b"l", outside) + folder(b"l", mode=0o777) + file(b"l/secret", b"evil"),
    ),
    harmless(
        "a directory replaced by a link, then a file in it",
        lambda target: (target / "d").is_symlink(),
        lambda outside: folder(b"d") + file(b"d/a") + symlink(b"d", outside) + file(b"d/secret", b"evil"),
    ),
    harmless(
        "a directory deep above replaced by a link",
        lambda target: (target / "d").is_symlink(),
        lambda outside: (
            file(b"d/e/f/a") + symlink(b"d", outside) + file(b"d/e/f/secret", b"evil") + file(b"d/secret", b"evil")
        ),
    ),
    harmless(
        "a device over a link to the outside",
        lambda target: not (target / "l").is_symlink(),
        lambda outside: symlink(b"l", outside + b"/secret") + header(b"l", b"6", mode=0o777),
    ),
    harmless(
        "a hard link to a link to the outside, then a file",
        lambda target: (target / "h").is_file(),
        lambda outside: symlink(b"l", outside + b"/secret") + hardlink(b"h", b"l") + file(b"h", b"evil"),
    ),
    refused(
        "a hard link through a link to the outside",
        InvalidArgument,
        "does not have before it",
        lambda outside: symlink(b"l", outside) + hardlink(b"h", b"l/secret"),
    ),
    refused(
        "a hard link to an absolute name outside",
        InvalidArgument,
        "does not have before it",
        lambda outside: hardlink(b"h", outside + b"/secret"),
    ),
    harmless(
        "a link's owner and time",
        lambda target: (target / "l").lstat().st_uid == 7,
        lambda outside: symlink(b"l", outside + b"/secret", uid=7, gid=7, mtime=1),
    ),
    harmless(
        "a link's attributes",
        lambda target: (target / "l").is_symlink(),
        lambda outside: pax((b"SCHILY.xattr.trusted.evil", b"1")) + symlink(b"l", outside + b"/secret"),
    ),
    harmless(
        "an opaque mark through a link to the outside",
        lambda target: (target / "l").is_symlink(),
        lambda outside: symlink(b"l", outside) + file(b"l/.wh..wh..opq", b""),
    ),
    harmless(
        "a whiteout through a link to the outside",
        lambda target: (target / "l").is_symlink(),
        lambda outside: symlink(b"l", outside) + file(b"l/.wh.secret", b""),
    ),
    harmless(
        "a whiteout of a link to the outside",
        lambda target: (target / "l").is_symlink(),
        lambda outside: symlink(b"l", outside) + file(b".wh.l", b""),
    ),
    harmless(
        "the process' own links",
        lambda target: (target / "proc/self/root").is_dir(),
        file(b"proc/self/root/escaped") + symlink(b"p", b"/proc/self/fd/3") + file(b"p/x"),
    ),
]

WHITEOUTS = [
    refused("a whiteout of nothing", InvalidArgument, "whiteout", file(b"a/.wh.", b"")),
    refused("a whiteout of .", InvalidArgument, "whiteout", file(b"a/.wh..", b"")),
    refused("a whiteout of ..", InvalidArgument, "whiteout", file(b"a/.wh...", b"")),
    refused("a file below a whiteout's name", InvalidArgument, "name of a whiteout", file(b".wh.a/b")),
    harmless("a whiteout of a name with .. in it", lambda target: _is_whiteout(target / "..x"), file(b".wh...x", b"")),
    harmless("other AUFS names", _empty, file(b".wh..wh.plnk/1.2") + file(b".wh..wh.aufs") + folder(b"a/.wh..wh.orph")),
    harmless(
        "a whiteout after the file", lambda target: (target / "a").read_bytes() == b"data", file(b"a") + file(b".wh.a")
    ),
    harmless("a whiteout that is a directory", lambda target: _is_whiteout(target / "a"), folder(b".wh.a")),
    harmless(
        "attributes of the overlay's own",
        lambda target: (target / "d/f").exists(),
        pax(
            (b"SCHILY.xattr.trusted.overlay.opaque", b"y"),
            (b"SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            (b"SCHILY.xattr.user.overlay.opaque", b"y"),
        )
        + folder(b"d")
        + file(b"d/f"),
    ),
    refused(
        "a file system capability that is none",
        InvalidArgument,
        "security.capability",
        pax((b"SCHILY.xattr.security.capability", b"nonsense")) + file(b"a"),
    ),
]

SHAPES = [
    refused("no name", InvalidArgument, "name of 0 bytes", file(b"")),
    refused("the root as a file", InvalidArgument, "root directory's name", file(b"/")),
    refused("the root as a link", InvalidArgument, "root directory's name", symlink(b"./", b"/etc")),
    refused("the root as a link's name with ..", InvalidArgument, "root directory's name", symlink(b"a/..", b"/etc")),
    refused("a file as a parent", InvalidArgument, "is not a directory", file(b"a") + file(b"a/b")),
    refused(
        "a device as a parent", InvalidArgument, "is not a directory", header(b"n", b"3", device=(1, 3)) + file(b"n/b")
    ),
    refused(
        "links in a circle",
        InvalidArgument,
        "too many symbolic links",
        symlink(b"a", b"b") + symlink(b"b", b"a") + file(b"a/f"),
    ),
    refused("a link to itself", InvalidArgument, "too many symbolic links", symlink(b"a", b"a") + file(b"a/f")),
    refused(
        "a link that grows",
        InvalidArgument,
        "too many symbolic links",
        symlink(b"a", b"a/" + b"b/" * 40) + file(b"a/f"),
    ),
    refused("a symbolic link to nothing", InvalidArgument, "target of 0 bytes", symlink(b"a", b"")),
    refused(
        "a symbolic link with a huge target",
        InvalidArgument,
        "target of 5000 bytes",
        longname(b"x" * 5000, b"K") + symlink(b"a", b""),
    ),
    refused(
        "a sparse file of more bytes than can be counted",
        InvalidArgument,
        "which no file can have",
        pax((b"GNU.sparse.size", b"9" * 19), (b"GNU.sparse.map", b"9999999999999999995,4")) + file(b"a"),
    ),
    refused(
        "a file of more bytes than can be counted",
        InvalidArgument,
        "which no file can have",
        header(b"a", size=base256(1 << 90, 12)),
    ),
    refused("a hard link to a whiteout", InvalidArgument, "before it", file(b".wh.a", b"") + hardlink(b"h", b"a")),
    refused(
        "a hard link over the directory of its file",
        InvalidArgument,
        "before it",
        file(b"a/b") + hardlink(b"a", b"a/b"),
    ),
    refused("a hard link to a directory", InvalidArgument, "is a directory", folder(b"d") + hardlink(b"h", b"d")),
    refused("a hard link to the root", InvalidArgument, "root directory's name", hardlink(b"h", b"/")),
    refused("a hard link to what comes later", InvalidArgument, "before it", hardlink(b"h", b"a") + file(b"a")),
    refused("a name of 5000 bytes", InvalidArgument, "name of 5000 bytes", longname(b"x/" * 2500) + file(b"a")),
    refused("a part of 300 bytes", InvalidArgument, "File name too long", longname(b"x" * 300) + file(b"a")),
    refused("a tree too deep", InvalidArgument, "256 directories", longname(b"x/" * 300 + b"f") + file(b"a")),
    refused(
        "a tree too deep by links",
        InvalidArgument,
        "256 directories",
        (
            longname(b"x/" * 200 + b"f")
            + file(b"a")
            + longname(b"x/" * 199 + b"x", b"K")
            + symlink(b"l", b"")
            + longname(b"l/" + b"y/" * 100 + b"f")
            + file(b"a")
        ),
    ),
    refused("a socket", InvalidArgument, "type b's'", header(b"s", b"s")),
    refused("a volume that goes on", InvalidArgument, "type b'M'", header(b"m", b"M")),
    refused("a device number too large", InvalidArgument, "device number", header(b"d", b"3", device=(0o7777777, 1))),
    refused(
        "a negative device number", InvalidArgument, "device number", header(b"d", b"3", device=(base256(-1, 8), 1))
    ),
    refused("an owner too large", InvalidArgument, "owned by", header(b"a", uid=base256(2**32 - 1, 8))),
    refused("a negative owner", InvalidArgument, "owned by", header(b"a", gid=base256(-5, 8))),
    refused("a time far away", InvalidArgument, "time out of range", header(b"a", mtime=base256(2**60, 12))),
    harmless(
        "a hard link to itself",
        lambda target: (target / "a").read_bytes() == b"data",
        file(b"a") + hardlink(b"a", b"a"),
    ),
    harmless(
        "a hard link over its own other name",
        lambda target: (target / "a").stat().st_nlink == 2,
        file(b"a") + hardlink(b"b", b"a") + hardlink(b"b", b"a"),
    ),
    harmless(
        "a link with data", lambda target: (target / "b").exists(), header(b"l", b"2", link=b"x", size=512) + file(b"b")
    ),
    harmless("a control character in a name", lambda target: (target / "a\n\x1b[31m").exists(), file(b"a\n\x1b[31m")),
    harmless("a name that is no text", lambda target: any(target.iterdir()), file(b"\xff\xfe")),
    harmless("anything after the end", lambda target: (target / "a").exists(), file(b"a") + END + b"garbage" * 1000),
    harmless(
        "a file over a full directory",
        lambda target: (target / "d").is_file(),
        file(b"d/e/f") + file(b"d/g") + folder(b"d/h") + file(b"d"),
    ),
]
