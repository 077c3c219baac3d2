"""The RuntimeService. A call of the protocol that has no method here is answered with Unimplemented by the server."""

from __future__ import annotations

from podyard.runtime.calls.checkpoint import CheckpointCalls
from podyard.runtime.calls.containers import ContainerCalls
from podyard.runtime.calls.events import EventCalls
from podyard.runtime.calls.node import NodeCalls
from podyard.runtime.calls.sandboxes import SandboxCalls
from podyard.runtime.calls.stats import StatsCalls
from podyard.runtime.calls.streaming import StreamingCalls
from podyard.runtime.calls.streams import StreamCalls
from podyard.runtime.calls.update import UpdateCalls


class RuntimeService(
    NodeCalls,
    StreamCalls,
    SandboxCalls,
    ContainerCalls,
    UpdateCalls,
    CheckpointCalls,
    EventCalls,
    StatsCalls,
    StreamingCalls,
):
    """All calls. A call that streams is an async generator."""
