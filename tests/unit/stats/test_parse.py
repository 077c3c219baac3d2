"""The kernel's formats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podyard.stats import parse
from podyard.stats.usage import DeviceIo, Interface, Pressure, Stall


@pytest.mark.parametrize(
    ("text", "value"),
    [("4096\n", 4096), ("0\n", 0), ("-1\n", -1), ("max\n", None), ("", None), (None, None), ("4 5\n", None)],
)
def test_a_number(text: str | None, value: int | None) -> None:
    assert parse.number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("67108864\n", 67108864),
        ("0\n", 0),
        ("max\n", None),
        ("9223372036854771712\n", None),
        ("9223372036854775807\n", None),
        ("-1\n", None),
        (None, None),
    ],
)
def test_what_stands_for_no_limit(text: str | None, value: int | None) -> None:
    assert parse.limit(text) == value


def test_keys_with_numbers_and_whatever_a_newer_kernel_adds() -> None:
    text = "usage_usec 100\nnr_periods 3\nodd line here\nlonely\nnegative -4\nfloat 1.5\n"
    assert parse.keyed(text) == {"usage_usec": 100, "nr_periods": 3}


def test_pressure() -> None:
    text = "some avg10=1.53 avg60=0.42 avg300=0.10 total=58761459\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=43202\n"
    assert parse.pressure(text) == Pressure(Stall(1.53, 0.42, 0.10, 58761459), Stall(0.5, 0.0, 0.0, 43202))


def test_pressure_of_a_kernel_that_has_no_full_line_for_the_cpu() -> None:
    text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    assert parse.pressure(text) == Pressure(Stall(0.0, 0.0, 0.0, 7), Stall())


@pytest.mark.parametrize("text", [None, "", "some avg10=x avg60=0 avg300=0 total=1\n", "some avg10=0.00\n", "some\n"])
def test_pressure_that_is_not_counted(text: str | None) -> None:
    assert parse.pressure(text) is None


def test_io_of_v2() -> None:
    text = (
        "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n"
        "259:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021\n"
        "253:0 \n"
    )
    assert parse.io_stat(text) == [
        DeviceIo("8:16", 1459200, 314773504, 192, 353),
        DeviceIo("259:0", 90430464, 299008000, 8950, 1252),
    ]


def test_io_of_v1_is_put_together_from_two_files() -> None:
    sizes = "254:0 Read 12288\n254:0 Write 8192\n254:0 Sync 20480\n254:0 Total 20480\n7:1 Read 512\nTotal 20992\n"
    counts = "254:0 Read 3\n254:0 Write 2\n254:0 Total 5\n8:0 Write 1\nTotal 6\n"
    assert parse.blkio(sizes, counts) == [
        DeviceIo("254:0", 12288, 8192, 3, 2),
        DeviceIo("7:1", read_bytes=512),
        DeviceIo("8:0", writes=1),
    ]
    assert parse.blkio(None, None) == []


NET_DEV = """\
Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:     168       2    0    0    0     0          0         0      168       2    0    0    0     0       0    0
eth0:1510 17 1 2 0 0 0 0 472 6 3 4 0 0 0 0
"""


def test_interfaces() -> None:
    assert parse.interfaces(NET_DEV) == [
        Interface("lo", 168, 2, 0, 0, 168, 2, 0, 0),
        Interface("eth0", 1510, 17, 1, 2, 472, 6, 3, 4),
    ]
    assert parse.interfaces("") == []


LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max stack size            8388608              unlimited            bytes
Max open files            1024                 1048576              files
Max nice priority         0                    0
"""


def test_soft_limits_without_unlimited_ones() -> None:
    assert parse.soft_limits(LIMITS) == {"max_stack_size": 8388608, "max_open_files": 1024, "max_nice_priority": 0}
    assert parse.soft_limits("") == {}


@given(st.text(alphabet=st.sampled_from(" \n=:0123456789-abcfulsome.totalRdWim"), max_size=200))
def test_no_content_makes_a_parser_fail(text: str) -> None:
    for function in (
        parse.number,
        parse.limit,
        parse.keyed,
        parse.pressure,
        parse.io_stat,
        parse.interfaces,
        parse.soft_limits,
    ):
        function(text)
    parse.blkio(text, text)
