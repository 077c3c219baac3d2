"""The daemon's metrics for Prometheus, over HTTP.

Source of the format: Prometheus' text exposition format, version 0.0.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterable

import h11

from podyard.errors import FailedPrecondition
from podyard.model.metric import Metric

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_LIMIT = 16 << 10
"""Bytes of a request's head."""
TIME_LIMIT = 10.0
"""Seconds for one request, from the connection to the answer's last byte."""


def text(metrics: Iterable[Metric]) -> str:
    """Metrics as Prometheus reads them; those of one name stand one after the other."""
    lines: list[str] = []
    known = ""
    for metric in metrics:
        if metric.name != known:
            known = metric.name
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in metric.labels)
        made = "" if metric.at is None else f" {metric.at}"
        lines.append(f"{metric.name}{f'{{{labels}}}' if labels else ''} {_number(metric.value)}{made}")
    return "".join(f"{line}\n" for line in lines)


class MetricsServer:
    """Answers GET /metrics. ``metrics`` is asked for each answer."""

    def __init__(self, address: str, metrics: Callable[[], Iterable[Metric]]) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self.port = 0
        """Where it listens, once it does."""

    async def start(self) -> None:
        """Listen. Raises FailedPrecondition when the address cannot be had."""
        host = self._host.strip("[]")
        try:
            self._server = await asyncio.start_server(self._serve, host, int(self._port))
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen on {self._host} port {self._port} for metrics: {error.strerror}; set metrics_listen to "
                "an address that is free"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        logger.info("metrics on http://%s:%d/metrics", self._host, self.port)

    async def close(self) -> None:
        """Listen no more. Answers that are being sent have their time limit."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that has gone, or takes too long, is nobody's loss.
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(TIME_LIMIT):
                await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_LIMIT)
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(REQUEST_LIMIT))
            status, body = self._answer_to(event)
        except h11.RemoteProtocolError as error:
            status, body = error.error_status_hint, f"{error}\n".encode()
        headers = [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body))), ("Connection", "close")]
        with contextlib.suppress(h11.LocalProtocolError):  # what sent no request at all cannot be answered
            parts = [h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()]
            for part in parts:
                writer.write(connection.send(part) or b"")
        await writer.drain()

    def _answer_to(self, event: object) -> tuple[int, bytes]:
        if not isinstance(event, h11.Request):
            return 400, b"this is no request\n"
        if event.target.partition(b"?")[0] != b"/metrics":
            return 404, b"there is only /metrics\n"
        if event.method != b"GET":
            return 405, b"only GET is answered\n"
        return 200, text(self._metrics()).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)
