"""What layers hide and what they leave out, seen through a mounted overlay."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.images.unpack.archives import END, TAR, digest, file, folder, header, pax, symlink

from podyard.images.unpack import unpack_layer
from podyard.linux import mounts

pytestmark = pytest.mark.host

View = Callable[..., Awaitable[Path]]


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    """Unpacks archives as layers, the lowest first, and mounts them."""
    merged = tmp_path / "merged"

    async def mount(*archives: bytes) -> Path:
        layers: list[Path] = []
        for number, archive in enumerate(archives):
            layer, blob = tmp_path / f"layer{number}", tmp_path / f"blob{number}"
            layer.mkdir(mode=0o700)
            blob.write_bytes(archive + END)
            await unpack_layer(blob, TAR, layer, diff_id=digest(archive + END), lower=layers)
            layers.insert(0, layer)
        for name in ("upper", "work", "merged"):
            (tmp_path / name).mkdir()
        mounts.mount_overlay(layers, tmp_path / "upper", tmp_path / "work", merged)
        return merged

    yield mount
    mounts.unmount(merged)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


BASE = (
    folder(b"etc", mode=0o750, gid=4)
    + file(b"etc/a")
    + file(b"etc/b")
    + folder(b"var")
    + file(b"var/log/x")
    + file(b"top")
)


async def test_a_whiteout_hides_one_name(view: View) -> None:
    merged = await view(BASE, file(b"etc/.wh.a", b"") + file(b".wh.var", b"") + file(b".wh.never-there", b""))
    assert names(merged) == ["etc", "etc/b", "top"]


async def test_an_opaque_directory_hides_what_is_below_it_alone(view: View) -> None:
    merged = await view(BASE, file(b"etc/new") + file(b"etc/.wh..wh..opq", b"") + file(b"var/log/y"))
    assert names(merged) == ["etc", "etc/new", "top", "var", "var/log", "var/log/x", "var/log/y"]


async def test_an_opaque_root_hides_all_layers_below(view: View) -> None:
    merged = await view(BASE, file(b".wh..wh..opq", b"") + file(b"etc/new"))
    assert names(merged) == ["etc", "etc/new"]


@pytest.mark.parametrize("order", [1, -1], ids=["whiteout first", "whiteout last"])
async def test_a_directory_and_its_whiteout_in_one_layer_make_a_new_directory(view: View, order: int) -> None:
    entries = [file(b".wh.etc", b""), folder(b"etc") + file(b"etc/new")]
    merged = await view(BASE, b"".join(entries[::order]))
    assert names(merged / "etc") == ["new"]


async def test_a_whiteout_and_a_file_below_its_name_make_a_new_directory(view: View) -> None:
    merged = await view(BASE, file(b".wh.etc", b"") + file(b"etc/new"))
    assert names(merged / "etc") == ["new"]
    assert stat.S_IMODE((merged / "etc").stat().st_mode) == 0o755


async def test_a_device_0_0_is_a_whiteout(view: View) -> None:
    merged = await view(BASE, header(b"etc", b"3", device=(0, 0)))
    assert names(merged) == ["top", "var", "var/log", "var/log/x"]


async def test_a_missing_parent_is_as_in_the_layers_below(view: View) -> None:
    base = (
        folder(b"./", mode=0o711, uid=3)
        + pax((b"SCHILY.xattr.user.mark", b"1"))
        + folder(b"home", mode=0o2770, uid=5, gid=6)
    )
    merged = await view(base, file(b"home/a/new"), file(b"home/a/b"))
    home, made, root = ((merged / name).stat() for name in ("home", "home/a", "."))
    assert (stat.S_IMODE(home.st_mode), home.st_uid, home.st_gid, home.st_mtime) == (0o2770, 5, 6, 1_700_000_000)
    assert os.getxattr(merged / "home", "user.mark") == b"1"
    assert (stat.S_IMODE(made.st_mode), made.st_uid) == (0o755, 0)
    layer = (merged.parent / "layer2").stat()
    assert (stat.S_IMODE(layer.st_mode), layer.st_uid) == (0o711, 3)
    assert names(merged) == ["home", "home/a", "home/a/b", "home/a/new"]
    assert root.st_ino


async def test_a_missing_parent_that_is_a_link_below_is_followed(view: View) -> None:
    base = (
        folder(b"usr/lib", mode=0o700)
        + symlink(b"lib", b"usr/lib")
        + symlink(b"abs", b"/usr/lib")
        + file(b"usr/lib/old")
    )
    merged = await view(base, file(b"top"), file(b"lib/new") + file(b"abs/sub/x") + file(b"lib/.wh.old", b""))
    assert (merged / "lib").is_symlink()
    assert names(merged / "usr") == ["lib", "lib/new", "lib/sub", "lib/sub/x"]
    assert stat.S_IMODE((merged / "usr/lib").stat().st_mode) == 0o700


async def test_a_parent_hidden_below_is_made_anew(view: View) -> None:
    private = folder(b"d/e", mode=0o700) + folder(b"f/g", mode=0o700) + folder(b"h", mode=0o700)
    hiding = folder(b"d") + file(b"d/.wh..wh..opq", b"") + file(b".wh.f", b"") + file(b"h")
    merged = await view(private, hiding, file(b"d/e/x") + file(b"f/g/x") + file(b"h/x"))
    for name in ("d/e", "f/g", "h"):
        assert stat.S_IMODE((merged / name).stat().st_mode) == 0o755, name
        assert names(merged / name) == ["x"]


@pytest.mark.parametrize(
    "hiding",
    [file(b".wh.d", b""), file(b"d/.wh..wh..opq", b""), file(b".wh..wh..opq", b"")],
    ids=["whiteout", "opaque", "opaque root"],
)
async def test_what_the_layer_itself_hides_tells_nothing_of_a_missing_parent(view: View, hiding: bytes) -> None:
    base = folder(b"d/e", mode=0o700, uid=7) + symlink(b"d/link", b"/top") + folder(b"top")
    merged = await view(base, hiding + file(b"d/e/x") + file(b"d/link/x"))
    made = (merged / "d/e").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_uid) == (0o755, 0)
    assert names(merged / "d") == ["e", "e/x", "link", "link/x"]


async def test_an_opaque_mark_counts_for_what_stands_before_it_too(view: View) -> None:
    base = folder(b"d/e", mode=0o700, uid=7)
    merged = await view(base, file(b"d/e/x") + file(b"d/.wh..wh..opq", b""))
    made = (merged / "d/e").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_uid) == (0o755, 0)


@pytest.mark.parametrize(
    "hiding",
    [folder(b"lib"), file(b".wh.lib", b""), symlink(b"lib", b"other"), file(b".wh..wh..opq", b"")],
    ids=["directory", "whiteout", "link", "opaque root"],
)
async def test_a_link_below_is_followed_until_the_layer_hides_it(view: View, hiding: bytes) -> None:
    base = folder(b"usr") + symlink(b"lib", b"usr") + folder(b"other")
    merged = await view(base, file(b"lib/x") + hiding + file(b"lib/y"))
    assert names(merged / "usr") == ["x"]
    assert (merged / "lib/y").is_file()
