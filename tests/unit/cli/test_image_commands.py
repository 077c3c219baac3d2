"""gc, fsck, pulls, image and images --tree."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import LIMIT, PODYARD, terminal
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer

from podyard.cli.settings import Settings
from podyard.cli.tree import lines
from podyard.cri import admin

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def test_the_pulls_of_the_daemon_are_listed(podyard: Podyard, runtime: FakeRuntime) -> None:
    layers = [
        admin.PullLayer(digest=A, state="shared", done=7, total=7),
        admin.PullLayer(digest=B, state="downloading", done=1_000_000, total=4_000_000),
    ]
    runtime.pulls = [[admin.Pull(reference="r.test/a:1", stage="fetching and unpacking layers", layers=layers)]]
    (row,) = podyard("pulls").table
    assert (row["IMAGE"], row["LAYERS"], row["FETCHED"], row["OF"]) == ("r.test/a:1", "1/2", "1.0 MB", "4.0 MB")


def _items(request: admin.CollectGarbageRequest) -> admin.CollectGarbageResponse:
    held = [admin.GarbageItem(kind="image", name="r.test/a:1", held=True, why="containers use it")]
    return admin.CollectGarbageResponse(
        items=[
            *(held if request.dry_run else []),
            admin.GarbageItem(kind="layer", name=A, size=5_000_000, why="no image refers to it"),
        ]
    )


def test_garbage_is_shown_with_reasons(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.answers["CollectGarbage"] = _items
    ended = podyard("gc", "--dry-run", "--images")
    assert ended.code == 0, ended.err
    assert "containers use it" in ended.out
    assert ended.out.splitlines()[-1] == "1 would go: 5.0 MB"
    assert runtime.called("CollectGarbage") == [admin.CollectGarbageRequest(dry_run=True, images=True)]
    assert podyard("gc").out.splitlines()[-1] == "1 went: 5.0 MB"
    assert podyard("gc", "-q").out == f"{A}\n"
    assert [item["why"] for item in podyard("gc", "-o", "json").data] == ["no image refers to it"]


def test_what_is_wrong_fails_the_check(podyard: Podyard, runtime: FakeRuntime) -> None:
    findings = [admin.Finding(kind="layer", name=A, text="it cannot be checked", note=True)]
    answer = admin.CheckImagesResponse(images=1, layers=2, documents=3, findings=findings)
    runtime.answers["CheckImages"] = lambda request: answer
    ended = podyard("fsck")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        f"note: layer {'a' * 13}: it cannot be checked",
        "compared 1 images: 2 layers and 3 documents",
    ]
    answer.findings.append(admin.Finding(kind="layer", name=B, text="'f' is missing", repaired=True))
    assert podyard("fsck", "--repair").code == 0
    answer.findings.append(admin.Finding(kind="document", name=C, text="bad\x1b[2J"))
    ended = podyard("fsck")
    assert ended.code == 11
    assert "fsck --repair" in ended.err
    assert "\x1b" not in ended.out
    assert podyard("fsck", "-q").out == f"{C}\n"
    assert [request.repair for request in runtime.called("CheckImages")] == [False, True, False, False]


CONFIGURATION: dict[str, Any] = {
    "architecture": "amd64",
    "history": [
        {"created": "2026-01-02T03:04:05Z", "created_by": "COPY  . /"},
        {"created_by": "ENV A=b", "empty_layer": True},
        {"created_by": "RUN make"},
    ],
}


@pytest.fixture
def inspected(runtime: FakeRuntime) -> None:
    layers = [admin.StoredLayer(chain_id=A, size=1000), admin.StoredLayer(chain_id=B, size=2000)]
    document = admin.Document(digest=C, content=b'{"schemaVersion": 2}')
    runtime.answers["InspectImage"] = lambda request: admin.InspectImageResponse(
        id=C, layers=layers, configuration=json.dumps(CONFIGURATION).encode(), manifests=[document]
    )


@pytest.mark.usefixtures("inspected")
def test_the_history_names_what_made_each_layer(podyard: Podyard) -> None:
    rows = podyard("image", "history", "a").table
    assert [(row["LAYER"], row["BY"], row["SIZE"]) for row in rows] == [
        ("b" * 13, "RUN make", "2.0 kB"),
        ("-", "ENV A=b", "0 B"),
        ("a" * 13, "COPY . /", "1.0 kB"),
    ]
    assert [step["empty_layer"] for step in podyard("image", "history", "a", "-o", "json").data] == [False, True, False]


@pytest.mark.usefixtures("inspected")
@pytest.mark.parametrize("history", [None, [], {"a": 1}, "text", 5, [None, [1]]])
def test_a_history_that_is_none_shows_the_layers(
    podyard: Podyard, monkeypatch: pytest.MonkeyPatch, history: object
) -> None:
    monkeypatch.setitem(CONFIGURATION, "history", history)
    assert [row["LAYER"] for row in podyard("image", "history", "a").table] == ["b" * 13, "a" * 13]


@pytest.mark.usefixtures("inspected")
def test_an_image_is_inspected_with_its_documents(podyard: Podyard) -> None:
    data = podyard("image", "inspect", "a").data
    assert data["configuration"] == CONFIGURATION
    assert data["manifests"] == [{"digest": C, "content": {"schemaVersion": 2}}]
    assert [layer["chain_id"] for layer in data["layers"]] == [A, B]


def test_images_are_saved_named_and_compared(podyard: Podyard, runtime: FakeRuntime, tmp_path: Path) -> None:
    runtime.answers["SaveImages"] = lambda request: admin.SaveImagesResponse(size=3_000_000)
    runtime.answers["TagImage"] = lambda request: admin.TagImageResponse(id=A, repo_tags=["r.test/b:1"])
    changes = [
        admin.PathChange(kind="added", path=b"/new\xff", after=3),
        admin.PathChange(kind="changed", path=b"/f", before=1, after=2),
    ]
    runtime.answers["DiffImages"] = lambda request: admin.DiffImagesResponse(changes=changes)
    target = tmp_path / "saved.tar"
    assert podyard("image", "save", "a", "b", "--to", str(target)).out == f"wrote {target} (3.0 MB)\n"
    assert runtime.called("SaveImages") == [admin.SaveImagesRequest(images=["a", "b"], path=str(target))]
    assert podyard("image", "tag", "a", "r.test/b:1").out == f"{'a' * 13}: r.test/b:1\n"
    ended = podyard("image", "diff", "a", "b")
    assert [line.split() for line in ended.out.splitlines()[1:]] == [
        ["A", "/new\\xff", "0", "B", "3", "B"],
        ["C", "/f", "1", "B", "2", "B"],
    ]
    assert podyard("image", "diff", "a", "b", "-q").out == "/new\\xff\n/f\n"


def test_an_archive_goes_to_standard_output_and_to_no_terminal(server: FakeServer, runtime: FakeRuntime) -> None:
    content = os.urandom(3_000_000)

    def save(request: admin.SaveImagesRequest) -> admin.SaveImagesResponse:
        Path(request.path).write_bytes(content)
        return admin.SaveImagesResponse(size=len(content))

    runtime.answers["SaveImages"] = save
    command = [*PODYARD, "-r", server.endpoint, "image", "save", "a", "--to", "-"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=LIMIT, check=True)
    assert ended.stdout == content
    assert not Path(runtime.called("SaveImages")[0].path).parent.exists()
    gone = subprocess.run(f"{shlex.join(command)} | head -c 1", shell=True, capture_output=True, timeout=LIMIT)
    assert (gone.stdout, gone.stderr) == (content[:1], b"")
    assert not Path(runtime.called("SaveImages")[1].path).parent.exists()
    with terminal(dict(os.environ), "-r", server.endpoint, "image", "save", "a", "--to", "-") as on_terminal:
        on_terminal.until(b"standard output is a terminal")
        assert on_terminal.code() == 2


def test_layers_stand_below_what_they_were_put_on() -> None:
    def user(name: str, position: int, layers: int, in_use: bool = False) -> admin.LayerUser:
        return admin.LayerUser(id=f"id-{name}", repo_tags=[name], position=position, layers=layers, in_use=in_use)

    layers = [
        admin.StoredLayer(chain_id=A, size=10, images=[user("x", 0, 2), user("y", 0, 2), user("z", 0, 1, True)]),
        admin.StoredLayer(chain_id=B, size=20, images=[user("x", 1, 2)]),
        admin.StoredLayer(chain_id=C, size=30, images=[user("y", 1, 2)]),
        admin.StoredLayer(chain_id="sha256:" + "d" * 64, size=40),
    ]
    assert list(lines(layers, Settings())) == [
        f"├─ {'a' * 13} 10 B (3 images)",
        "│     = z (in use)",
        f"│  ├─ {'b' * 13} 20 B (1 image)",
        "│  │     = x",
        f"│  └─ {'c' * 13} 30 B (1 image)",
        "│        = y",
        f"└─ {'d' * 13} 40 B (no image)",
    ]
