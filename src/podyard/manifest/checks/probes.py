"""Faults of probes and lifecycle hooks (Kubernetes API reference, Probe and Lifecycle)."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.manifest.checks.ports import MAX_PORT
from podyard.manifest.model import (
    Action,
    Container,
    ExecAction,
    GrpcAction,
    HttpGetAction,
    Pod,
    Probe,
    SleepAction,
    is_sidecar,
)
from podyard.manifest.problems import Problem
from podyard.manifest.signals import SIGNALS

_LEAST = {
    "initialDelaySeconds": 0,
    "timeoutSeconds": 1,
    "periodSeconds": 1,
    "successThreshold": 1,
    "failureThreshold": 1,
    "terminationGracePeriodSeconds": 1,
}
_MOST = (1 << 31) - 1


def check_probes(pod: Pod, container: Container, path: str) -> Iterator[Problem]:
    """Faults of a container's probes and hooks."""
    probes = {
        "livenessProbe": container.liveness_probe,
        "readinessProbe": container.readiness_probe,
        "startupProbe": container.startup_probe,
    }
    hooks = {"postStart": container.lifecycle.post_start, "preStop": container.lifecycle.pre_stop}
    runs_once = container in pod.spec.init_containers and not is_sidecar(container)
    for field, probe in probes.items():
        if probe is None:
            continue
        if runs_once:
            yield Problem(0, f"{path}.{field}", "an init container is waited for, so it has no probes")
        yield from _probe(container, field, probe, f"{path}.{field}")
    signal = container.lifecycle.stop_signal
    if signal and signal not in SIGNALS:
        yield Problem(0, f"{path}.lifecycle.stopSignal", f"{signal!r} is not a signal; write SIGTERM or SIGRTMIN+3")
    for field, hook in hooks.items():
        if hook is None:
            continue
        if runs_once:
            yield Problem(0, f"{path}.lifecycle", "an init container has no lifecycle hooks")
        yield from _actions(container, hook.actions, "exec, httpGet and sleep", f"{path}.lifecycle.{field}")


def _probe(container: Container, field: str, probe: Probe, path: str) -> Iterator[Problem]:
    yield from _actions(container, probe.actions, "exec, httpGet, tcpSocket and grpc", path)
    numbers = {
        "initialDelaySeconds": probe.initial_delay_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    grace = probe.termination_grace_period_seconds
    if grace is not None:
        numbers["terminationGracePeriodSeconds"] = grace
    for name, value in numbers.items():
        if not _LEAST[name] <= value <= _MOST:
            yield Problem(0, f"{path}.{name}", f"{value} is not between {_LEAST[name]} and {_MOST}")
    if field != "readinessProbe" and probe.success_threshold > 1:
        yield Problem(0, f"{path}.successThreshold", "must be 1: one success is enough for it")
    if field == "readinessProbe" and grace is not None:
        yield Problem(0, f"{path}.terminationGracePeriodSeconds", "a readiness probe stops nothing, so it has none")


def _actions(container: Container, actions: tuple[Action, ...], allowed: str, path: str) -> Iterator[Problem]:
    if len(actions) != 1:
        yield Problem(0, path, f"needs one of {allowed}, has {len(actions) or 'none'}")
    for action in actions:
        match action:
            case ExecAction():
                if not action.command:
                    yield Problem(0, f"{path}.exec.command", "is empty")
            case SleepAction():
                if not 1 <= action.seconds <= _MOST:
                    yield Problem(0, f"{path}.sleep.seconds", f"{action.seconds} is not between 1 and {_MOST}")
            case GrpcAction():
                if fault := _port_fault(container, action.port):
                    yield Problem(0, f"{path}.grpc.port", fault)
            case _:
                field = "httpGet" if isinstance(action, HttpGetAction) else "tcpSocket"
                if isinstance(action, HttpGetAction):
                    yield from _http(action, f"{path}.{field}")
                if fault := _port_fault(container, action.port):
                    yield Problem(0, f"{path}.{field}.port", fault)


def _http(action: HttpGetAction, path: str) -> Iterator[Problem]:
    if not all("!" <= letter <= "~" for letter in action.path):
        yield Problem(0, f"{path}.path", "holds a blank or a character that a URL must escape")
    for index, header in enumerate(action.http_headers):
        if not header.name or not all("!" <= letter <= "~" and letter != ":" for letter in header.name):
            yield Problem(0, f"{path}.httpHeaders[{index}].name", f"{header.name[:80]!r} is not a header's name")
        if not all(" " <= letter <= "~" for letter in header.value):
            yield Problem(0, f"{path}.httpHeaders[{index}].value", "holds a control character or one beyond ASCII")


def _port_fault(container: Container, port: int | str) -> str:
    if isinstance(port, int):
        return "" if 1 <= port <= MAX_PORT else f"{port} is not between 1 and {MAX_PORT}"
    if port not in [known.name for known in container.ports if known.name]:
        return f"the container has no port called {port!r}"
    return ""
