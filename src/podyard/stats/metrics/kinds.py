"""What a metric is, and how it gets its values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from podyard.cri import api
from podyard.stats.sample import Sample, device_name
from podyard.stats.usage import DeviceIo, Interface, Memory, Pressure, Throttling

SECOND, MICROSECONDS = 1_000_000_000, 1_000_000
"""What one second is in counters of nanoseconds, and in those of pressure."""

Value = tuple[int, tuple[str, ...]]
"""A value, and the values of the labels that follow the base labels."""


@dataclass(frozen=True)
class ContainerMetric:
    """A metric of containers."""

    name: str
    help: str
    kind: api.MetricType.ValueType
    values: Callable[[Sample], Iterable[Value]]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkMetric:
    """A metric of a sandbox's network interfaces."""

    name: str
    help: str
    value: Callable[[Interface], int]
    kind: api.MetricType.ValueType = api.COUNTER
    labels: tuple[str, ...] = ("interface",)


def one(read: Callable[[Sample], int | None]) -> Callable[[Sample], Iterator[Value]]:
    """A metric with one value, or none where ``read`` gives None."""

    def values(sample: Sample) -> Iterator[Value]:
        value = read(sample)
        if value is not None:
            yield value, ()

    return values


def memory(read: Callable[[Memory], int | None]) -> Callable[[Sample], Iterator[Value]]:
    return one(lambda sample: None if sample.memory is None else read(sample.memory))


def throttling(read: Callable[[Throttling], int]) -> Callable[[Sample], Iterator[Value]]:
    def value(sample: Sample) -> int | None:
        return None if sample.cpu is None or sample.cpu.throttling is None else read(sample.cpu.throttling)

    return one(value)


def pressure(resource: str, read: Callable[[Pressure], int]) -> Callable[[Sample], Iterator[Value]]:
    def value(sample: Sample) -> int | None:
        found = sample.pressure[resource]
        return None if found is None else read(found) // MICROSECONDS

    return one(value)


def devices(read: Callable[[DeviceIo], int]) -> Callable[[Sample], Iterator[Value]]:
    return lambda sample: ((read(one), (device_name(one.device),)) for one in sample.io)
