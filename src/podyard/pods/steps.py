"""Steps of the engine: each is told as an event when it begins and when it ends, and named in its error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from podyard.errors import PermissionDenied, translate
from podyard.pods.views import OnEvent, PodEvent


class Note:
    """What a step wants said of itself when it is done."""

    detail = ""


class Steps:
    """Tells ``on_event`` of the steps."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event

    @contextmanager
    def step(self, step: str, subject: str) -> Iterator[Note]:
        """Do what is inside as a step. Raises its error as a PodyardError that says "while STEP SUBJECT"."""
        note = Note()
        began = time.monotonic()
        self._on_event(PodEvent(step=step, subject=subject, state="begun"))
        try:
            yield note
        except BaseException as error:
            text = "interrupted" if isinstance(error, asyncio.CancelledError) else str(error) or type(error).__name__
            self.tell(step, subject, "failed", detail=text, seconds=time.monotonic() - began)
            if not isinstance(error, Exception):
                raise
            if isinstance(error, PermissionError):
                error = PermissionDenied(f"{error}; Pods are run by root")
            raise translate(error, f"{step} {subject}") from error
        self.tell(step, subject, "done", detail=note.detail, seconds=time.monotonic() - began)

    def tell(
        self,
        step: str,
        subject: str,
        state: Literal["done", "failed"] = "done",
        *,
        detail: str = "",
        seconds: float | None = None,
    ) -> None:
        """One event."""
        self._on_event(PodEvent(step=step, subject=subject, state=state, seconds=seconds, detail=detail))
