"""serve, reset, config: how options become the daemon's configuration."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.unit.cli.conftest import Podyard

from podyard import config as configuration
from podyard.errors import ConfigError


@pytest.fixture(autouse=True)
def no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "DEFAULT_FILE", tmp_path / "podyard.toml")


def test_config_prints_what_it_would_read_again(bare: Podyard, tmp_path: Path) -> None:
    ended = bare("config", "--root", "/state", "--versions", "v1")
    assert ended.code == 0, ended.err
    (tmp_path / "again.toml").write_text(ended.out)
    assert configuration.load(tmp_path / "again.toml") == configuration.load(
        overrides={"root": "/state", "versions": ["v1"]}
    )
    values = tomllib.loads(ended.out)
    assert (values["root"], values["versions"], values["runtime"]["monitor"]) == ("/state", ["v1"], "conmon")
    assert json.loads(bare("config", "-o", "json").out)["image_listen"] is None
    assert yaml.safe_load(bare("config", "-o", "yaml").out)["run"] == "/run/podyard"


def test_options_win_over_the_file(bare: Podyard, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('root = "/file"\nlog_level = "debug"\n[runtime]\ncgroup_driver = "systemd"\npids_limit = 7\n')
    values = json.loads(
        bare(
            *("config", "-o", "json", "--config", str(file), "--root", "/option", "--cgroup-driver", "cgroupfs"),
            *("--listen", "unix:///a.sock", "--image-listen", "/b.sock", "--insecure-registry", "one:5000"),
            *("--insecure-registry", "two:5000", "--oci-runtime", "runc", "--cni-conf-dir", "/cni"),
        ).out
    )
    assert (values["root"], values["log_level"]) == ("/option", "debug")
    assert (values["listen"], values["image_listen"]) == ("/a.sock", "/b.sock")
    assert values["images"]["insecure_registries"] == ["one:5000", "two:5000"]
    assert values["network"]["conf_dir"] == "/cni"
    runtime = values["runtime"]
    assert (runtime["cgroup_driver"], runtime["pids_limit"], runtime["candidates"]) == ("cgroupfs", 7, ["runc"])


@pytest.mark.parametrize("command", ["config", "serve", "reset"])
@pytest.mark.parametrize(
    "arguments",
    [("--config", "/nowhere/podyard.toml"), ("--versions", "v2"), ("--versions", ""), ("--log-level", "loud")],
)
def test_a_wrong_option_is_an_error_before_anything_starts(
    bare: Podyard, command: str, arguments: tuple[str, ...]
) -> None:
    ended = bare(command, *arguments)
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize(("socket", "why"), [("images.sock", "absolute"), ("/a.sock", "both /a.sock")])
def test_a_socket_of_images_that_cannot_be_is_refused(socket: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        configuration.load(overrides={"listen": "/a.sock", "image_listen": socket})


@pytest.mark.parametrize("root", ["/with,comma", "/with:colon", "/with\\backslash"])
def test_a_root_that_no_container_could_have_its_layers_in_is_refused(root: str) -> None:
    with pytest.raises(ConfigError, match="which overlayfs cannot take"):
        configuration.load(overrides={"root": root})


def test_reset_without_yes_says_what_it_would_remove(bare: Podyard, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    ended = bare("reset", "--root", str(root), "--run", str(tmp_path / "run"))
    assert ended.code == 2
    assert str(root) in ended.err
    assert "--yes" in ended.err
    assert root.is_dir()
