"""Which capabilities a container gets."""

from __future__ import annotations

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.oci.capabilities import BY_NUMBER, DEFAULT, KNOWN, capability_sets, from_mask

HALF = KNOWN - {"CAP_SYS_RESOURCE"}


def granted(*, privileged: bool = False, available: frozenset[str] = KNOWN, **lists: list[str]) -> set[str]:
    names = {f"{key}_capabilities": value for key, value in lists.items()}
    sets = capability_sets(api.Capability(**names), privileged=privileged, available=available)
    assert sets["bounding"] == sets["effective"] == sets["permitted"] == sorted(sets["bounding"])
    return set(sets["bounding"])


def test_the_defaults_are_containerds() -> None:
    assert granted() == DEFAULT
    assert len(DEFAULT) == 14
    sets = capability_sets(api.Capability(), privileged=False, available=KNOWN)
    assert sets["inheritable"] == sets["ambient"] == []


@pytest.mark.parametrize("name", ["net_admin", "NET_ADMIN", "CAP_NET_ADMIN", "cap_net_admin"])
def test_a_name_in_any_spelling(name: str) -> None:
    assert granted(add=[name]) == DEFAULT | {"CAP_NET_ADMIN"}


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (["ALL"], [], set(KNOWN)),
        ([], ["ALL"], set()),
        (["CHOWN"], ["ALL"], {"CAP_CHOWN"}),
        (["ALL"], ["CHOWN"], KNOWN - {"CAP_CHOWN"}),
        (["ALL"], ["ALL"], set()),
        (["SYS_ADMIN"], ["SYS_ADMIN", "KILL"], DEFAULT - {"CAP_KILL"}),
    ],
)
def test_all_comes_first_and_drops_come_last(add: list[str], drop: list[str], expected: set[str]) -> None:
    assert granted(add=add, drop=drop) == expected


def test_no_more_is_given_than_the_daemon_has() -> None:
    assert granted(add=["ALL"], available=HALF) == HALF
    assert granted(privileged=True, available=HALF) == HALF
    with pytest.raises(FailedPrecondition, match="CAP_SYS_RESOURCE"):
        granted(add=["SYS_RESOURCE"], available=HALF)


def test_ambient_ones_join_every_set() -> None:
    request = api.Capability(drop_capabilities=["ALL"], add_ambient_capabilities=["NET_RAW"])
    sets = capability_sets(request, privileged=False, available=KNOWN)
    assert all(names == ["CAP_NET_RAW"] for names in sets.values())


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"drop_capabilities.*'NO_SUCH'"):
        granted(drop=["NO_SUCH"])


def test_a_mask_as_proc_has_it() -> None:
    assert from_mask(0xA80425FB) == DEFAULT
    assert from_mask((1 << 63) | 1) == {"CAP_CHOWN"}
    assert BY_NUMBER.index("CAP_CHECKPOINT_RESTORE") == 40
