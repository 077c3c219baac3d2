"""Where endpoints come from, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeServer

from podyard.cli.settings import DEFAULT_ENDPOINT, resolve
from podyard.errors import ConfigError


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_anything_podyards_own_socket_is_meant() -> None:
    settings = resolve({}, {}, ())
    assert (settings.runtime_endpoint, settings.image_endpoint) == (DEFAULT_ENDPOINT, None)
    assert settings.output == "table"


def test_option_wins_over_variable_over_users_file_over_system_file(tmp_path: Path) -> None:
    user = written(tmp_path / "user.toml", 'runtime-endpoint = "/user"')
    system = written(tmp_path / "system.toml", 'runtime-endpoint = "/system"\ntimeout = 3')
    given = {"runtime_endpoint": "/option"}
    variables = {"PODYARD_RUNTIME_ENDPOINT": "/own", "CONTAINER_RUNTIME_ENDPOINT": "/common"}
    assert resolve(given, variables, (user, system)).runtime_endpoint == "/option"
    assert resolve({}, variables, (user, system)).runtime_endpoint == "/own"
    del variables["PODYARD_RUNTIME_ENDPOINT"]
    assert resolve({}, variables, (user, system)).runtime_endpoint == "/common"
    assert resolve({}, {}, (user, system)).runtime_endpoint == "/user"
    assert resolve({}, {}, (tmp_path / "absent", system)).runtime_endpoint == "/system"
    assert resolve({}, {}, (user, system)).timeout == 3.0, "each key is looked up by itself"
    assert resolve({"timeout": 1.5}, {}, (user, system)).timeout == 1.5


def test_an_image_endpoint_of_a_later_source_does_not_join_another_runtime(tmp_path: Path) -> None:
    file = written(tmp_path / "user.toml", 'runtime-endpoint = "/other"\nimage-endpoint = "/other-images"')
    assert resolve({}, {}, (file,)).image_endpoint == "/other-images"
    assert resolve({"runtime_endpoint": "/mine"}, {}, (file,)).image_endpoint is None
    assert resolve({"runtime_endpoint": "/mine"}, {"IMAGE_SERVICE_ENDPOINT": "/images"}, ()).image_endpoint is None
    assert resolve({"image_endpoint": "/mine"}, {}, (file,)).image_endpoint == "/mine"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('runtime-endpont = "/x"', "runtime-endpont"),
        ("runtime-endpoint = 3", "must be a string"),
        ("timeout = 0", "above 0"),
        ('timeout = "5"', "number of seconds"),
        ("timeout = true", "number of seconds"),
        ("timeout =", "cannot read"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, expected: str) -> None:
    file = written(tmp_path / "cli.toml", text)
    with pytest.raises(ConfigError) as error:
        resolve({}, {}, (file,))
    assert str(file) in str(error.value)
    assert expected in str(error.value)


def test_options_may_stand_before_and_after_the_command(bare: Podyard, server: FakeServer) -> None:
    assert bare("-r", server.endpoint, "-o", "json", "version").data["runtime"]["runtime_name"] == "fake"
    assert bare("version", "-r", server.endpoint, "-o", "json").data["runtime"]["runtime_name"] == "fake"
    last_wins = bare("-r", "/nowhere.sock", "-o", "table", "version", "-r", server.endpoint, "-o", "json")
    assert last_wins.data["runtime"]["runtime_name"] == "fake"


def test_the_users_file_is_read(bare: Podyard, server: FakeServer, tmp_path: Path) -> None:
    written(tmp_path / "xdg" / "podyard" / "cli.toml", f'runtime-endpoint = "{server.endpoint}"')
    assert bare("version").code == 0


def test_the_systems_file_is_read(bare: Podyard, server: FakeServer, tmp_path: Path) -> None:
    written(tmp_path / "etc" / "cli.toml", f'runtime-endpoint = "{server.endpoint}"\nimage-endpoint = "/none.sock"')
    ended = bare("version")
    assert ended.code == 14
    assert "/none.sock" in ended.err, "the image endpoint of the same file belongs to it"
