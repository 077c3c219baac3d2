"""Probes and lifecycle hooks: what is done to a container, and when."""

from __future__ import annotations

from typing import ClassVar, Literal

from podyard.manifest.model.base import Object


class ExecAction(Object, frozen=True, kw_only=True):
    command: tuple[str, ...]


class HttpHeader(Object, frozen=True, kw_only=True):
    name: str
    value: str = ""


class HttpGetAction(Object, frozen=True, kw_only=True):
    port: int | str
    path: str = "/"
    host: str = ""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocketAction(Object, frozen=True, kw_only=True):
    port: int | str
    host: str = ""


class GrpcAction(Object, frozen=True, kw_only=True):
    """Ask the gRPC health checking protocol how a service is; "" is the server as a whole."""

    port: int
    service: str = ""


class SleepAction(Object, frozen=True, kw_only=True):
    seconds: int


Action = ExecAction | HttpGetAction | TcpSocketAction | GrpcAction | SleepAction


class Probe(Object, frozen=True, kw_only=True):
    """How a container is asked how it is. Times are seconds."""

    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    grpc: GrpcAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None

    @property
    def actions(self) -> tuple[Action, ...]:
        """What the manifest gives of exec, httpGet, tcpSocket and grpc: one, when it was checked."""
        given = (self.exec, self.http_get, self.tcp_socket, self.grpc)
        return tuple(action for action in given if action is not None)


class LifecycleHandler(Object, frozen=True, kw_only=True):
    """What is done when a container has started, or is about to be stopped."""

    unsupported: ClassVar[frozenset[str]] = frozenset({"tcpSocket"})

    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    sleep: SleepAction | None = None

    @property
    def actions(self) -> tuple[Action, ...]:
        """What the manifest gives of exec, httpGet and sleep: one, when it was checked."""
        return tuple(action for action in (self.exec, self.http_get, self.sleep) if action is not None)


class Lifecycle(Object, frozen=True, kw_only=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str = ""
    """Such as "SIGUSR1"; "" for the image's."""
