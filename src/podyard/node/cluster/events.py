"""Events: what the API server's users are told of what the node does (Kubernetes API, core/v1 Event)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from podyard.errors import NotFound, PodyardError, Unavailable
from podyard.node.kube import KubeClient, for_ever, paths
from podyard.node.times import rfc3339

logger = logging.getLogger(__name__)

COMPONENT = "kubelet"
"""Who says it: the part that the node plays, by which events are looked for."""
WAITING = 1000
"""Events that wait to be sent; then the oldest are dropped."""
KNOWN = 4096
"""Events that are remembered, so that the next one of their kind counts them up; and objects with a budget."""
BURST = 25
"""Events of one object that are sent at once; this and the next are those of Kubernetes' own clients."""
REFILL = 300.0
"""Seconds after which it may have one more."""
MESSAGE_LIMIT = 1024
"""Characters of a message; the API server takes no more."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What an event is about."""

    kind: str
    name: str
    uid: str
    namespace: str = ""
    field: str = ""
    """Which part of it: "spec.containers{main}"."""


@dataclass(frozen=True, kw_only=True)
class News:
    """What has happened."""

    about: About
    reason: str
    """One of a kubelet's words."""
    message: str
    warning: bool = False


@dataclass(frozen=True)
class _Series:
    """The same news, as often as it came. Times: seconds since 1970. ``name``: the Event's, "" before it is there."""

    name: str
    count: int
    first: float
    last: float


class Events:
    """Takes news, and sends it when it can: whoever tells it never waits, and what cannot be sent is dropped."""

    def __init__(self, kube: KubeClient, node: str, *, clock: Callable[[], float] = time.time) -> None:
        self._kube = kube
        self._node = node
        self._clock = clock
        self._waiting: OrderedDict[News, _Series] = OrderedDict()
        self._sent: OrderedDict[News, _Series] = OrderedDict()
        self._budgets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        """What each object may still send, and when that was."""
        self._there = asyncio.Event()
        self._said = ""

    def tell(self, news: News) -> None:
        """Have it sent soon. The same news that still waits is counted."""
        news = replace(news, message=_short(news.message))
        now = self._clock()
        if not self._may_send(news.about, now):
            logger.debug("an event more of %s %s is not sent: %s", news.about.kind, news.about.name, news.message)
            return
        known = self._waiting.get(news)
        self._waiting[news] = (
            _Series("", 1, now, now) if known is None else replace(known, count=known.count + 1, last=now)
        )
        while len(self._waiting) > WAITING:
            self._waiting.popitem(last=False)
        self._there.set()

    async def run(self) -> None:
        """Send what there is, for ever, until cancelled. While the server is away it waits."""
        await for_ever(self._send_all, self._rest, "send events")

    async def _rest(self) -> None:
        await self._there.wait()
        self._there.clear()

    async def _send_all(self) -> None:
        while self._waiting:
            news, more = self._waiting.popitem(last=False)
            try:
                await self._send(news, more)
            except Unavailable:
                self._put_back(news, more)
                raise
            except PodyardError as error:
                self._say(f"an event of {news.about.kind} {news.about.name} is dropped: {error}")

    async def _send(self, news: News, more: _Series) -> None:
        before = self._sent.get(news)
        series = more
        if before is not None:
            series = _Series(before.name, before.count + more.count, before.first, more.last)
            try:
                await self._kube.patch(
                    paths.namespaced("events", _namespace(news), before.name),
                    {"count": series.count, "lastTimestamp": rfc3339(series.last)},
                )
            except NotFound:  # the server keeps events for an hour
                series = replace(series, name="")
        if not series.name:
            # Unique for as long as a clock tells each of an object's events another time.
            series = replace(series, name=f"{news.about.name}.{time.time_ns():x}")
            await self._kube.create(
                paths.namespaced("events", _namespace(news)), event_object(news, series.name, series, self._node)
            )
        self._sent[news] = series
        self._sent.move_to_end(news)
        while len(self._sent) > KNOWN:
            self._sent.popitem(last=False)

    def _put_back(self, news: News, more: _Series) -> None:
        """First in the line again, with what came meanwhile."""
        newer = self._waiting.pop(news, None)
        if newer is not None:
            more = replace(more, count=more.count + newer.count, last=newer.last)
        self._waiting[news] = more
        self._waiting.move_to_end(news, last=False)

    def _may_send(self, about: About, now: float) -> bool:
        key = about.kind, about.uid
        left, since = self._budgets.pop(key, (float(BURST), now))
        left = min(float(BURST), left + max(0.0, now - since) / REFILL)
        self._budgets[key] = (left - 1 if left >= 1 else left), now
        while len(self._budgets) > KNOWN:
            self._budgets.popitem(last=False)
        return left >= 1

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            logger.warning("%s", text)


def event_object(news: News, name: str, series: _Series, node: str) -> dict[str, Any]:
    """An Event as the API has it."""
    about = news.about
    involved = {"kind": about.kind, "apiVersion": "v1", "name": about.name, "uid": about.uid}
    involved |= {"namespace": about.namespace} if about.namespace else {}
    involved |= {"fieldPath": about.field} if about.field else {}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": _namespace(news)},
        "involvedObject": involved,
        "reason": news.reason,
        "message": news.message,
        "type": "Warning" if news.warning else "Normal",
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
        "firstTimestamp": rfc3339(series.first),
        "lastTimestamp": rfc3339(series.last),
        "count": series.count,
    }


def _namespace(news: News) -> str:
    """Where the Event is: beside its object, or in "default" for one that is in no namespace."""
    return news.about.namespace or "default"


def _short(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else f"{message[: MESSAGE_LIMIT - 1]}…"
