"""Streaming sessions: exec, attach and port-forward, as the client of a runtime's streaming server.

    session     Session: a process' standard streams, its terminal's size, its exit code
    forward     PortForward: connections to ports in a pod
    dial        from a runtime's URL to a connection; which transport is spoken
    target      the URL;  upgrade: the HTTP request that switches to SPDY
    link        one connection, with back-pressure;  spdy, websocket: channels on it
    channels    the ends of a channel that a session's user has

The protocols themselves are in ``podyard.wire`` (and in websockets and h11); here they meet sockets.
"""

from podyard.client.streams.channels import Inbound, Outbound
from podyard.client.streams.dial import Transport
from podyard.client.streams.forward import Connection, PortForward
from podyard.client.streams.session import Output, Session, Wanted, open_session

__all__ = [
    "Connection",
    "Inbound",
    "Outbound",
    "Output",
    "PortForward",
    "Session",
    "Transport",
    "Wanted",
    "open_session",
]
