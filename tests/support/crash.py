"""A hook of podyard's that kills it at a named step, as a power cut would: the edge where the fault is injected.

The daemon's folder holds the orders: ``kill`` has "before" or "after", the operation and the step. Every step that is
reached is written to ``steps``.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from podyard.operations import Hooks, Operation
from podyard.operations.trace import current

FOLDER = "PODYARD_TEST_CRASH"
"""The environment variable with the folder's path."""


def setup(hooks: Hooks) -> None:
    """Registered through the daemon's configuration (``runtime.hooks``)."""
    folder = Path(os.environ[FOLDER])

    def hook(when: str) -> Any:
        async def reached(operation: Operation[Any]) -> None:
            trace = current()
            assert trace is not None
            # The innermost stage that lasts is the step whose hook this is: steps side by side share the trace.
            for span in reversed(trace.spans):
                if span.end is None:
                    line = f"{when} {operation.kind}: {span.name}"
                    with (folder / "steps").open("a") as file:
                        file.write(f"{line}\n")
                    if order(folder) == line:
                        os.kill(os.getpid(), signal.SIGKILL)

        return reached

    hooks.before("*", "*", hook("before"))
    hooks.after("*", "*", hook("after"))


def order(folder: Path) -> str:
    """The step at which to die, "" for none."""
    try:
        return (folder / "kill").read_text()
    except FileNotFoundError:
        return ""
