"""Users' code before and after a named step.

A hook is an async function of one argument, the operation. Before a step it may look at the operation, change its
input, or veto it by raising an error; after a step it may look. A package offers hooks through the entry point group
``podyard.hooks``: a function that takes a ``Hooks`` and registers what it wants::

    def setup(hooks: Hooks) -> None:
        hooks.before("CreateContainer", "writing the bundle", add_our_label)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from podyard.errors import ConfigError
from podyard.operations.step import Operation

Hook = Callable[[Any], Awaitable[None]]


class Hooks:
    """What is registered, by operation kind and step name. "*" stands for every kind, or every step."""

    def __init__(self) -> None:
        self._before: defaultdict[tuple[str, str], list[Hook]] = defaultdict(list)
        self._after: defaultdict[tuple[str, str], list[Hook]] = defaultdict(list)

    def before(self, kind: str, step: str, hook: Hook) -> None:
        """Call ``hook`` before the step acts; an error that it raises fails the step."""
        self._before[kind, step].append(hook)

    def after(self, kind: str, step: str, hook: Hook) -> None:
        """Call ``hook`` when the step is done; an error that it raises fails the step."""
        self._after[kind, step].append(hook)

    async def run_before(self, operation: Operation[Any], step: str) -> None:
        """Run the hooks that stand before a step."""
        await _run(self._before, operation, step)

    async def run_after(self, operation: Operation[Any], step: str) -> None:
        """Run the hooks that stand after a step."""
        await _run(self._after, operation, step)

    def load(self, names: list[str]) -> None:
        """Register the entry points' hooks, then those of ``names`` ("package.module:function").

        Raises ConfigError where one cannot be imported or fails.
        """
        found = [(f"entry point {entry.name}", entry.load) for entry in entry_points(group="podyard.hooks")]
        found += [(name, partial(resolve_name, name)) for name in names]
        for name, load in found:
            try:
                load()(self)
            except Exception as error:
                raise ConfigError(f"cannot load the hooks of {name}: {error!r}") from error


async def _run(table: dict[tuple[str, str], list[Hook]], operation: Operation[Any], step: str) -> None:
    if not table:
        return
    for key in ((operation.kind, step), (operation.kind, "*"), ("*", "*")):
        for hook in table.get(key, ()):
            await hook(operation)
