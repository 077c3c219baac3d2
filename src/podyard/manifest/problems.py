"""What is wrong with a manifest, as the user reads it: one line for each problem, in the order of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podyard.errors import InvalidArgument, PodyardError, Unimplemented

MAX_SHOWN = 20
"""More problems than this are counted, not shown: the first ones usually explain the rest."""


@dataclass(frozen=True, order=True)
class Problem:
    """One fault. ``line`` counts from 1; ``path`` is the field ("spec.containers[0].name"), "" for the document.

    ``unsupported``: the manifest is right, podyard cannot do it yet.
    """

    line: int
    path: str
    text: str
    unsupported: bool = False

    def show(self, source: str) -> str:
        field = f" {self.path}:" if self.path else ""
        return f"{source}:{self.line}:{field} {self.text}"


def error_of(problems: Sequence[Problem], source: str) -> PodyardError:
    """All problems as one error: Unimplemented when nothing is wrong but what podyard cannot do yet."""
    lines = [problem.show(source) for problem in sorted(problems)]
    if len(lines) > MAX_SHOWN:
        lines[MAX_SHOWN:] = [f"{source}: and {len(lines) - MAX_SHOWN} more problems"]
    kind = Unimplemented if all(problem.unsupported for problem in problems) else InvalidArgument
    return kind("\n".join(lines))
