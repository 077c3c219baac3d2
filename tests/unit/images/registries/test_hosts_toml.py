"""containerd's hosts.toml and docker's directories of certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from podyard.errors import FailedPrecondition
from podyard.images.registries.endpoint import Endpoint, Tls
from podyard.images.registries.hosts_toml import certificates, endpoints


def write(folder: Path, name: str, text: str) -> Path:
    """A registry's hosts.toml; its directory."""
    (folder / name).mkdir(parents=True)
    (folder / name / "hosts.toml").write_text(text)
    return folder / name


def asked(found: list[Endpoint] | None) -> list[tuple[str, tuple[str, ...], str]]:
    """Host, schemes and root of each endpoint."""
    assert found is not None
    return [(endpoint.host, endpoint.schemes, endpoint.root) for endpoint in found]


def test_hosts_are_asked_in_the_order_of_the_file_and_the_server_last(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        "docker.io",
        """
server = "https://registry-1.docker.io"
[host."https://z.test"]
  capabilities = ["pull"]
  ca = "ca.pem"
  client = [["a.cert", "a.key"], "both.pem"]
  skip_verify = true
[host."http://a.test:5000/cache"]
  capabilities = ["Pull", "resolve", "PUSH"]
  [host."http://a.test:5000/cache".header]
    x-one = "1"
    x-many = ["2", "3"]
[host."b.test/full/v2"]
  capabilities = []
[host."https://c.test/own"]
  override_path = true
""",
    )
    found = endpoints([tmp_path], "docker.io", "registry-1.docker.io")
    assert asked(found) == [
        ("z.test", ("https",), "/v2"),
        ("a.test:5000", ("http",), "/cache/v2"),
        ("b.test", (), "/full/v2"),
        ("c.test", ("https",), "/own"),
        ("registry-1.docker.io", ("https",), "/v2"),
    ]
    assert found is not None
    assert (found[0].pulls, found[0].resolves) == (True, False)
    assert [endpoint.pulls and endpoint.resolves for endpoint in found[1:]] == [True] * 4
    assert found[0].tls == Tls(
        (folder / "ca.pem",), ((folder / "a.cert", folder / "a.key"), (folder / "both.pem", None)), verify=False
    )
    assert found[1].headers == (("x-one", "1"), ("x-many", "2"), ("x-many", "3"))
    assert [endpoint.mirror for endpoint in found] == [True, True, True, True, False]


def test_a_table_for_the_server_says_how_it_is_spoken_to(tmp_path: Path) -> None:
    write(tmp_path, "r.test", 'server = "http://r.test"\n[host."http://r.test"]\nskip_verify = true\n')
    found = endpoints([tmp_path], "r.test", "r.test")
    assert asked(found) == [("r.test", ("https", "http"), "/v2")]
    assert found is not None
    assert not found[0].tls.verify
    assert not found[0].mirror


@pytest.mark.parametrize(
    ("host", "table", "schemes"),
    [
        ("http://m.test:5000", "skip_verify = true", ("https", "http")),
        ("http://m.test", 'ca = "ca.pem"', ("https", "http")),
        ("http://m.test:5000", 'client = "me.pem"', ("https", "http")),
        ("http://m.test:80", "skip_verify = true", ("http",)),
        ("http://m.test:5000", 'capabilities = ["pull"]', ("http",)),
        ("https://m.test:5000", "skip_verify = true", ("https",)),
    ],
)
def test_a_host_with_settings_for_tls_is_tried_with_it_first(
    tmp_path: Path, host: str, table: str, schemes: tuple[str, ...]
) -> None:
    write(tmp_path, "r.test", f'[host."{host}"]\n{table}\n')
    found = endpoints([tmp_path], "r.test", "r.test")
    assert found is not None
    assert found[0].schemes == schemes


@pytest.mark.parametrize("server", ["", 'server = "https://hub.test"\n'])
def test_a_table_for_the_registry_is_no_mirror(tmp_path: Path, server: str) -> None:
    write(tmp_path, "r.test", f'{server}[host."https://m.test"]\n[host."https://hub.test"]\nskip_verify = true\n')
    found = endpoints([tmp_path], "r.test", "hub.test")
    assert found is not None
    # The credentials of a pull are not for mirrors.
    assert {(endpoint.host, endpoint.mirror) for endpoint in found} == {("m.test", True), ("hub.test", False)}


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5.0), ("500ms", 0.5), ("1m30s", 90.0), ("1.5s", 1.5)])
def test_a_host_may_have_a_limit_for_connecting(tmp_path: Path, text: str, seconds: float) -> None:
    write(tmp_path, "r.test", f'[host."https://m.test"]\ndial_timeout = "{text}"\n')
    found = endpoints([tmp_path], "r.test", "r.test")
    assert found is not None
    assert [endpoint.connect_timeout for endpoint in found] == [seconds, None]


def test_capabilities_that_no_pull_needs_are_known(tmp_path: Path) -> None:
    write(tmp_path, "r.test", 'server = "https://r.test"\ncapabilities = ["Pull", "resolve", "push", "referrers"]\n')
    found = endpoints([tmp_path], "r.test", "r.test")
    assert found is not None
    assert found[0].pulls
    assert found[0].resolves


def test_without_a_server_the_registry_itself_is_asked_last(tmp_path: Path) -> None:
    write(tmp_path, "r.test", '[host."https://m.test"]\n')
    assert [host for host, _, _ in asked(endpoints([tmp_path], "r.test", "r.test"))] == ["m.test", "r.test"]


@pytest.mark.parametrize("name", ["r.test_5000_", "r.test:5000", "_default"])
def test_a_directory_is_found_by_all_its_names(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, '[host."https://m.test"]\n')
    write(tmp_path, "r.test", '[host."https://other.test"]\n')
    assert asked(endpoints([tmp_path], "r.test:5000", "r.test:5000"))[0][0] == "m.test"


def test_the_first_directory_that_knows_a_registry_counts(tmp_path: Path) -> None:
    write(tmp_path / "a", "other.test", "")
    write(tmp_path / "b", "r.test", '[host."https://b.test"]\n')
    write(tmp_path / "c", "r.test", '[host."https://c.test"]\n')
    folders = [tmp_path / name for name in ("none", "a", "b", "c")]
    assert asked(endpoints(folders, "r.test", "r.test"))[0][0] == "b.test"
    assert endpoints(folders, "unknown.test", "unknown.test") is None


def test_a_directory_of_certificates_is_docker_s(tmp_path: Path) -> None:
    folder = tmp_path / "r.test:5000"
    folder.mkdir()
    assert certificates([tmp_path], "r.test:5000") == Tls()
    for name in ("ca.crt", "me.cert", "me.key", "alone.cert", "note.txt"):
        (folder / name).touch()
    assert certificates([tmp_path / "none", tmp_path], "r.test:5000") == Tls(
        (folder / "ca.crt",), ((folder / "me.cert", folder / "me.key"),)
    )
    assert certificates([tmp_path], "r.test") == Tls()
    # It says nothing of who is asked, and no later directory does.
    write(tmp_path / "later", "r.test:5000", '[host."https://m.test"]\n')
    assert endpoints([tmp_path, tmp_path / "later"], "r.test:5000", "r.test:5000") is None
    # Beside a hosts.toml only what that names counts.
    write(tmp_path, "q.test", "")
    (tmp_path / "q.test/ca.crt").touch()
    assert certificates([tmp_path], "q.test") == Tls()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("server = ", "Invalid value"),
        ("server = 5", "Expected `str`"),
        ('[host."ftp://a.test"]', "no http or https URL"),
        ('[host."https://a.test:70000"]', "Port out of range"),
        ('[host."https://me@a.test"]', "no http or https URL"),
        ('[host."https://a.test"]\ncapabilities = ["fly"]', "fly is no capability"),
        ('[host."https://a.test"]\nclient = [["a", "b", "c"]]', "pairs of certificate and key"),
        ('[host."https://a.test"]\ndial_timeout = "5"', "dial_timeout is '5', which should be like"),
        (
            '[host."https://a.test"]\nproxy = "socks5://me:secret@p.test"',
            r"'socks5://\.\.\.@p\.test' must be an http or",
        ),
        ('[host."https://a.test"]\nproxy = "p.test:80"', "must be an http or https URL"),
        ('[host."https://a.test".header]\n"x\\ny" = "1"', "no header can have"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_name(tmp_path: Path, text: str, reason: str) -> None:
    folder = write(tmp_path, "r.test", text)
    with pytest.raises(FailedPrecondition, match=reason) as caught:
        endpoints([tmp_path], "r.test", "r.test")
    assert str(folder / "hosts.toml") in str(caught.value)


@pytest.mark.parametrize("host", ["https://me:hunter2@a.test", "me:hunter2@a.test", "https://me:hunter2@@a.test"])
def test_a_password_in_a_url_is_not_told(tmp_path: Path, host: str) -> None:
    write(tmp_path, "r.test", f'[host."{host}"]\n')
    with pytest.raises(FailedPrecondition, match=r"\.\.\.@a\.test") as caught:
        endpoints([tmp_path], "r.test", "r.test")
    assert "hunter2" not in str(caught.value)
