from __future__ import annotations

import socket
from pathlib import Path

import pytest

from podyard.client import Endpoint
from podyard.errors import InvalidArgument, Unimplemented


@pytest.mark.parametrize("text", ["unix:///run/x.sock", "/run/x.sock"])
def test_a_url_and_a_path_name_the_same_socket(text: str) -> None:
    endpoint = Endpoint.parse(text)
    assert endpoint.path == Path("/run/x.sock")
    assert str(endpoint) == "unix:///run/x.sock"
    assert endpoint == Endpoint(Path("/run/x.sock"))


@pytest.mark.parametrize(
    "text",
    ["", "run/x.sock", "unix://run/x.sock", "unix:/run/x.sock", "unix://", "tcp://127.0.0.1:80", "npipe:////./pipe/x"],
)
def test_anything_else_is_refused_and_shown(text: str) -> None:
    with pytest.raises(InvalidArgument, match="unix:///run/podyard") as raised:
        Endpoint.parse(text)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize("text", ["/" + "x" * 107, "/" + "ü" * 54, "/run/\0x"])
def test_a_path_that_no_socket_can_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="107 bytes"):
        Endpoint.parse(text)


def test_the_longest_path_is_accepted() -> None:
    assert len(str(Endpoint.parse("/" + "x" * 106).path)) == 107


def test_a_platform_without_unix_sockets_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(Unimplemented, match="no unix sockets"):
        Endpoint.parse("/run/x.sock")


def test_the_socket_itself_says_why_nobody_can_be_reached(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path / "x.sock")
    assert "no such socket" in endpoint.refusal()
    endpoint.path.touch()
    assert "no socket" in endpoint.refusal()
    endpoint.path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(endpoint.path))
        assert "nobody listens" in endpoint.refusal()
        listener.listen(0)
        assert endpoint.refusal() == ""
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(str(endpoint.path))
        assert "too many wait" in endpoint.refusal()
        for one in waiting:
            one.close()
    assert "Not a directory" in Endpoint(endpoint.path / "below").refusal()
