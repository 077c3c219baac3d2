"""Lists in parts."""

from __future__ import annotations

from podyard.cri import api
from podyard.cri.parts import PART_SIZE, parts


def container(length: int) -> api.Container:
    return api.Container(id="x" * length)


def test_all_items_come_in_order_in_parts_of_the_wanted_size() -> None:
    items = [api.Container(id=f"{number:064d}") for number in range(1000)]
    found = list(parts(items, 10_000))
    assert [item for part in found for item in part] == items
    assert len(found) > 5
    assert all(sum(item.ByteSize() for item in part) <= 10_000 for part in found)


def test_no_items_are_no_parts() -> None:
    assert list(parts([])) == []


def test_an_item_larger_than_a_part_is_alone() -> None:
    found = list(parts([container(10), container(500), container(10)], 100))
    assert [len(part) for part in found] == [1, 1, 1]


def test_a_part_is_far_below_what_a_client_takes() -> None:
    assert max(sum(item.ByteSize() for item in part) for part in parts([container(100_000)] * 50)) <= PART_SIZE
