"""Eviction thresholds as a kubelet's flags write them (Kubernetes documentation, "Node-pressure Eviction")."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from podyard.errors import InvalidArgument
from podyard.manifest.quantity import Quantity

Signal = Literal[
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
]
HARD = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
"""A kubelet's defaults."""

_SHARE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)%")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s))+")
_PART = re.compile(r"([0-9.]+)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class Amount:
    """So much, or that share of what there is. Bytes, inodes or process ids."""

    given: Quantity | None = None
    share: Fraction | None = None

    def of(self, capacity: int) -> int:
        """The amount where there is ``capacity``."""
        if self.share is not None:
            return math.floor(self.share * capacity)
        return self.given.value if self.given is not None else 0


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Less than ``least`` of ``signal`` is too little."""

    signal: Signal
    least: Amount
    grace: float | None = None
    """Seconds for which it may be so; None for a hard threshold, which allows none."""
    reclaim: Amount = Amount()
    """How much more than ``least`` there has to be before it is enough again."""


def parse_hard(text: str, reclaim: str = "") -> list[Threshold]:
    """``--eviction-hard`` and ``--eviction-minimum-reclaim``. Raises InvalidArgument."""
    given = _reclaims(reclaim)
    return [
        Threshold(signal=signal, least=least, reclaim=given.get(signal, Amount()))
        for signal, least in _statements("--eviction-hard", text)
    ]


def parse_soft(text: str, graces: str, reclaim: str = "") -> list[Threshold]:
    """``--eviction-soft``, ``--eviction-soft-grace-period`` and ``--eviction-minimum-reclaim``. Raises InvalidArgument,
    also where a signal has no grace period."""
    given, periods = _reclaims(reclaim), _graces(graces)
    found = []
    for signal, least in _statements("--eviction-soft", text):
        if signal not in periods:
            raise InvalidArgument(
                f"--eviction-soft: {signal} needs a time: --eviction-soft-grace-period {signal}=1m30s"
            )
        found.append(Threshold(signal=signal, least=least, grace=periods[signal], reclaim=given.get(signal, Amount())))
    return found


def parse_duration(flag: str, text: str) -> float:
    """Seconds of a duration as Go writes it, such as ``1m30s``. Raises InvalidArgument."""
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise InvalidArgument(f"{flag}: {text!r} is not a duration: write 30s, 5m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def reserved(thresholds: Sequence[Threshold], signal: Signal, capacity: int) -> int:
    """What the hard thresholds keep Pods from using."""
    hard = [one.least.of(capacity) for one in thresholds if one.signal == signal and one.grace is None]
    return max(hard, default=0)


def _statements(flag: str, text: str) -> Iterator[tuple[Signal, Amount]]:
    """``signal<amount,…``; a share of 0 or 100 % switches a signal off, as a kubelet has it."""
    for name, value in _pairs(flag, text, "<"):
        amount = _amount(flag, name, value)
        if amount.share in (0, 1):
            continue
        if amount.given is not None and amount.given.amount == 0:
            raise InvalidArgument(f"{flag}: {name}<{value}: must be more than 0; leave it out to switch it off")
        yield _signal(flag, name), amount


def _reclaims(text: str) -> Mapping[Signal, Amount]:
    flag = "--eviction-minimum-reclaim"
    return {_signal(flag, name): _amount(flag, name, value) for name, value in _pairs(flag, text, "=")}


def _graces(text: str) -> Mapping[Signal, float]:
    flag = "--eviction-soft-grace-period"
    found = {_signal(flag, name): parse_duration(flag, value) for name, value in _pairs(flag, text, "=")}
    for signal, seconds in found.items():
        if seconds <= 0:
            raise InvalidArgument(f"{flag}: {signal}: must be more than 0; --eviction-hard allows no time")
    return found


def _pairs(flag: str, text: str, operator: str) -> Iterator[tuple[str, str]]:
    seen = set()
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        name, found, value = (word.strip() for word in part.partition(operator))
        if not found or not value:
            raise InvalidArgument(f"{flag}: {part!r}: write SIGNAL{operator}VALUE,…")
        if name in seen:
            raise InvalidArgument(f"{flag}: {name} stands there twice")
        seen.add(name)
        yield name, value


def _signal(flag: str, name: str) -> Signal:
    for signal in _SIGNALS:
        if signal == name:
            return signal
    raise InvalidArgument(f"{flag}: {name!r} is not a signal; there are {', '.join(_SIGNALS)}")


def _amount(flag: str, name: str, value: str) -> Amount:
    if match := _SHARE.fullmatch(value):
        share = Fraction(match.group(1)) / 100
        if not 0 <= share <= 1:
            raise InvalidArgument(f"{flag}: {name}: {value} is no share: 0% to 100%")
        return Amount(share=share)
    try:
        quantity = Quantity.parse(value)
    except ValueError as error:
        raise InvalidArgument(f"{flag}: {name}: {error}, or a share such as 10%") from error
    if quantity.amount < 0:
        raise InvalidArgument(f"{flag}: {name}: {value} is less than 0")
    return Amount(given=quantity)


_SIGNALS: tuple[Signal, ...] = get_args(Signal)
