"""Looking into pinned network namespaces."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from podyard.linux import libc

Result = TypeVar("Result")


def in_each(pins: Mapping[str, Path], action: Callable[[], Result]) -> dict[str, Result]:
    """Call ``action`` inside each network namespace; its results by the pins' names. Blocks: call it in a thread.

    One thread enters them all and ends afterwards. A namespace that is gone, or where ``action`` raises OSError, is
    left out.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="netns") as thread:
        return thread.submit(_in_each, pins, action).result()


def _in_each(pins: Mapping[str, Path], action: Callable[[], Result]) -> dict[str, Result]:
    results = {}
    for name, pin in pins.items():
        try:
            descriptor = os.open(pin, os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc.setns(descriptor, libc.CLONE_NEWNET)
            finally:
                os.close(descriptor)
            results[name] = action()
        except OSError:
            # A pin whose mount is gone is an empty file, which setns refuses.
            continue
    return results
