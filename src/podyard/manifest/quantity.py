"""Kubernetes quantities: "500m" of a CPU, "64Mi" of memory."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

_FORM = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2}|)")
_POWERS = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}
_LONGEST = 64


@dataclass(frozen=True, order=True)
class Quantity:
    """An exact amount: cores for cpu, bytes for memory."""

    amount: Fraction

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """The quantity that ``text`` writes (decimal with a suffix n u m k M G T P E, Ki … Ei, or an exponent).

        Raises ValueError with a text that can be shown.
        """
        match = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None:
            raise ValueError(f"{text[:_LONGEST]!r} is not a quantity; write 500m, 2, 64Mi or 1G")
        sign, digits, suffix = match.groups()
        power = _POWERS.get(suffix)
        if power is None:  # an exponent
            power = Fraction(10) ** int(suffix[1:])
        amount = Fraction(digits if not digits.endswith(".") else digits[:-1]) * power
        return cls(-amount if sign == "-" else amount)

    @property
    def value(self) -> int:
        """Whole units, rounded up, as Kubernetes rounds."""
        return math.ceil(self.amount)

    @property
    def milli(self) -> int:
        """Thousandths, rounded up."""
        return math.ceil(self.amount * 1000)

    def __str__(self) -> str:
        if self.amount.denominator == 1:
            return str(self.amount.numerator)
        return f"{self.milli}m"
