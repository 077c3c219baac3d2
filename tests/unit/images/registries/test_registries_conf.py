"""containers' registries.conf."""

from __future__ import annotations

from pathlib import Path

import pytest

from podyard.errors import FailedPrecondition, PermissionDenied
from podyard.images.registries.registries_conf import RegistriesConf, load
from podyard.model.reference import parse

DIGEST = "sha256:" + "0" * 64


def conf(folder: Path, text: str, **drop_ins: str) -> RegistriesConf:
    """A file and its drop-ins, read."""
    (folder / "registries.conf").write_text(text)
    (folder / "registries.conf.d").mkdir()
    for name, more in drop_ins.items():
        (folder / "registries.conf.d" / f"{name}.conf").write_text(more)
    return load(folder / "registries.conf")


def asked(found: RegistriesConf, name: str) -> list[str]:
    """Where a name is asked for: "host/repository"."""
    endpoints = found.endpoints(parse(name))
    assert endpoints is not None
    return [f"{endpoint.host}/{endpoint.repository}" for endpoint in endpoints]


def test_no_file_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "none") == RegistriesConf()
    assert RegistriesConf().endpoints(parse("busybox")) is None


def test_mirrors_come_first_and_the_location_replaces_the_prefix(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
[[registry]]
prefix = "docker.io"
location = "hub.test/cache"
[[registry.mirror]]
location = "m.test:5000/docker"
insecure = true
[[registry.mirror]]
location = "n.test"
""",
    )
    assert asked(found, "busybox") == [
        "m.test:5000/docker/library/busybox",
        "n.test/library/busybox",
        "hub.test/cache/library/busybox",
    ]
    endpoints = found.endpoints(parse("busybox"))
    assert endpoints is not None
    assert [(one.schemes, one.tls.verify, one.mirror) for one in endpoints] == [
        (("https", "http"), False, True),
        ((), True, True),
        ((), True, False),
    ]


def test_the_longest_prefix_counts(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
[[registry]]
location = "a.test"
[[registry]]
prefix = "a.test/deep"
location = "deep.test"
[[registry]]
prefix = "a.test/deep/er:1"
location = "one.test/x"
[[registry]]
prefix = "*.b.test"
insecure = true
[[registry]]
prefix = "c.b.test"
location = "c.test"
""",
    )
    assert asked(found, "a.test/x:1") == ["a.test/x"]
    assert asked(found, "a.test/deep/x") == ["deep.test/x"]
    assert asked(found, "a.test/deeper") == ["a.test/deeper"]
    assert asked(found, "a.test/deep/er:1") == ["one.test/x"]
    assert asked(found, "a.test/deep/er:2") == ["deep.test/er"]
    assert asked(found, "x.b.test/y") == ["x.b.test/y"]
    assert asked(found, "c.b.test/y") == ["c.test/y"]
    assert found.endpoints(parse("a.test:5000/x")) is None
    assert found.endpoints(parse("b.test/x")) is None


def test_slashes_at_the_end_of_a_place_do_not_count(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
[[registry]]
prefix = "a.test/n/"
location = "b.test:5000/m/"
[[registry.mirror]]
location = "m.test/"
[[registry]]
location = "bad.test/"
blocked = true
""",
    )
    assert asked(found, "a.test/n/x") == ["m.test/x", "b.test:5000/m/x"]
    with pytest.raises(PermissionDenied, match="is blocked"):
        found.endpoints(parse("bad.test/x"))


def test_a_wildcard_is_for_all_ports(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
[[registry]]
prefix = "*.a.test"
location = "b.test"
[[registry.mirror]]
location = "m.test/cache"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.bad.test"
blocked = true
""",
    )
    assert asked(found, "x.a.test:5000/y") == ["b.test:5000/y"]
    with pytest.raises(PermissionDenied, match="is blocked"):
        found.endpoints(parse("x.bad.test:5000/y"))
    with pytest.raises(FailedPrecondition, match=r"the location 'm\.test/cache' of '\*\.a\.test'"):
        found.endpoints(parse(f"x.a.test:5000/y@{DIGEST}"))


def test_a_mirror_may_be_for_digests_or_tags_only(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
[[registry]]
location = "a.test"
[[registry.mirror]]
location = "digests.test"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.test"
pull-from-mirror = "tag-only"
[[registry]]
location = "b.test"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.test"
""",
    )
    assert asked(found, "a.test/x:1") == ["tags.test/x", "a.test/x"]
    assert asked(found, f"a.test/x@{DIGEST}") == ["digests.test/x", "a.test/x"]
    assert asked(found, "b.test/x:1") == ["b.test/x"]
    assert asked(found, f"b.test/x@{DIGEST}") == ["m.test/x", "b.test/x"]


def test_what_is_blocked_is_refused(tmp_path: Path) -> None:
    found = conf(tmp_path, '[[registry]]\nprefix = "a.test/bad"\nblocked = true\n')
    with pytest.raises(PermissionDenied, match=r"a\.test/bad/x:1 is blocked by the registry 'a\.test/bad'"):
        found.endpoints(parse("a.test/bad/x:1"))
    assert found.endpoints(parse("a.test/good")) is None


def test_a_drop_in_replaces_the_credential_helpers(tmp_path: Path) -> None:
    path = tmp_path / "registries.conf"
    path.write_text('credential-helpers = ["one"]\n')
    (tmp_path / "registries.conf.d").mkdir()
    (tmp_path / "registries.conf.d/1.conf").write_text('credential-helpers = ["containers-auth.json", "two"]\n')
    (tmp_path / "registries.conf.d/2.conf").write_text("")
    # The files with credentials are podyard's own setting.
    assert load(path).helpers == ("two",)


def test_a_registry_to_search_may_have_a_slash_at_its_end_and_no_scheme(tmp_path: Path) -> None:
    (tmp_path / "registries.conf").write_text('unqualified-search-registries = ["a.test/", "b.test:5000"]\n')
    assert load(tmp_path / "registries.conf").search == ("a.test", "b.test:5000")
    (tmp_path / "registries.conf").write_text('unqualified-search-registries = ["https://a.test"]\n')
    with pytest.raises(FailedPrecondition, match=r"registries\.conf cannot be used: 'https://a\.test' must be a host"):
        load(tmp_path / "registries.conf")


def test_a_drop_in_replaces_lists_and_registries_of_the_same_prefix(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        'unqualified-search-registries = ["a.test"]\nshort-name-mode = "enforcing"\n'
        '[[registry]]\nlocation = "a.test"\nblocked = true\n[aliases]\n"x" = "y.test/x"\n',
        b='unqualified-search-registries = ["b.test", "c.test"]\n',
        c='[[registry]]\nprefix = "a.test"\nlocation = "other.test"\n',
    )
    assert found.search == ("b.test", "c.test")
    assert asked(found, "a.test/x") == ["other.test/x"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[registry", "cannot be used"),
        ("[[registry]]\ninsecure = true\n", "neither a prefix nor a location"),
        ('[[registry]]\nlocation = "a"\n[[registry.mirror]]\ninsecure = true\n', "missing required field"),
        ('[[registry]]\nlocation = "a.test"\n[[registry.mirror]]\nlocation = "https://m.test"\n', "no URL"),
        ('[[registry]]\nprefix = "*.a.test/x"\nblocked = true\n', "without a port or a path"),
        ('[registries.search]\nregistries = ["a"]\n', "version 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_name(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(FailedPrecondition, match=reason) as caught:
        conf(tmp_path, text)
    assert str(tmp_path / "registries.conf") in str(caught.value)


def test_a_password_in_a_url_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "registries.conf").write_text('[[registry]]\nlocation = "https://me:hunter2@a.test"\n')
    with pytest.raises(FailedPrecondition, match=r"https://\.\.\.@a\.test") as caught:
        load(tmp_path / "registries.conf")
    assert "hunter2" not in str(caught.value)
