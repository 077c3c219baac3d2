"""Ages, durations, sizes, tables."""

from __future__ import annotations

import json

import pytest

from podyard.cli import output, units
from podyard.cli.config import toml


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (119, "119s"),
        (192, "3m12s"),
        (180, "3m"),
        (601, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 300, "3h5m"),
        (9 * 3600 + 300, "9h"),
        (50 * 3600, "2d2h"),
        (30 * 86400, "30d"),
        (800 * 86400, "2y70d"),
    ],
)
def test_an_age_has_two_units_while_the_smaller_one_matters(seconds: int, expected: str) -> None:
    now = 1_800_000_000 * 10**9
    assert units.age(now - seconds * 10**9, now) == expected


def test_what_never_was_has_no_age_and_a_clock_that_runs_ahead_makes_no_negative_one() -> None:
    assert units.age(0) == "-"
    assert units.age(2_000, 1_000) == "0s"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (999_999_999, "1.0 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_a_size_is_in_decimal_units(count: int, expected: str) -> None:
    assert units.size(count) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.042, "0.04s"), (2.34, "2.3s"), (59.97, "1m00s"), (65, "1m05s")])
def test_a_duration_is_short(seconds: float, expected: str) -> None:
    assert units.duration(seconds) == expected


def test_a_table_is_aligned_has_no_trailing_blanks_and_cannot_steer_a_terminal() -> None:
    lines = output.table(("NAME", "X"), [("a\x1b[31m", ""), ("long-name", "yes")]).splitlines()
    assert lines == ["NAME        X", "a?[31m      -", "long-name   yes"]


def test_verbose_values_are_decoded_where_they_are_json() -> None:
    assert output.decoded({"a": '{"b": [1]}', "c": "plain"}) == {"a": {"b": [1]}, "c": "plain"}


def test_toml_has_what_was_given() -> None:
    import tomllib

    values = {"a": 1, "b": None, "c": {"d": ['x"y', "z"], "e f": {"g": True}, "h": {}}, "i": "ü"}
    read = tomllib.loads("\n".join(toml(values)))
    expected = json.loads(json.dumps(values))
    del expected["b"]
    assert read == expected
