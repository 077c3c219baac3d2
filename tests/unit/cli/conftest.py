"""A command line and the runtime behind it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer

from podyard.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The JSON that it printed."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def table(self) -> list[dict[str, str]]:
        """The table that it printed: columns are at least two blanks apart."""
        assert self.code == 0, self.err
        lines = self.out.splitlines()
        starts = [
            at for at, letter in enumerate(lines[0]) if letter != " " and (at == 0 or lines[0][at - 2 : at] == "  ")
        ]
        ends = [*starts[1:], None]
        spans = list(zip(starts, ends, strict=True))
        names = [lines[0][start:end].strip() for start, end in spans]
        rows = lines[1 : lines.index("") if "" in lines else None]
        return [dict(zip(names, (row[start:end].strip() for start, end in spans), strict=True)) for row in rows]


def wait_until_called(runtime: FakeRuntime, name: str, process: subprocess.Popen[str]) -> None:
    """Wait until a command in a process of its own has made a call; 20 seconds at most."""
    deadline = time.monotonic() + 20
    while not runtime.called(name):
        assert process.poll() is None, f"it ended before it called {name}"
        assert time.monotonic() < deadline, f"it never called {name}"
        time.sleep(0.01)


Podyard = Callable[..., Ended]


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def server(runtime: FakeRuntime, tmp_path: Path) -> Iterator[FakeServer]:
    server = FakeServer(tmp_path / "runtime.sock", runtime)
    yield server
    server.stop()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Podyard:
    """Runs the command line in this process, with no file and no variable of the user's."""
    for name in ("PODYARD_RUNTIME_ENDPOINT", "CONTAINER_RUNTIME_ENDPOINT", "PODYARD_IMAGE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("IMAGE_SERVICE_ENDPOINT", "PODYARD_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("podyard.cli.settings.SYSTEM_FILE", tmp_path / "etc" / "cli.toml")

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, out, err)

    return run


@pytest.fixture
def podyard(bare: Podyard, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Podyard:
    """The command line, whose runtime is the fake one."""
    monkeypatch.setenv("PODYARD_RUNTIME_ENDPOINT", server.endpoint)
    return bare
