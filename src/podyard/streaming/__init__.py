"""The streaming server: what Exec, Attach and PortForward lead to.

    config.py       what can be set
    tokens.py       the URLs' single-use tokens
    server.py       the port: one connection is a request, an upgrade and a session
    request.py      the HTTP request, and which subprotocol it gets
    tls.py          TLS with a given certificate, or with podyard's own
    link.py         a connection's bytes, with back-pressure both ways
    session.py      what all sessions have: channels
    spdy.py         sessions over SPDY/3.1
    websocket.py    sessions over WebSocket, and SPDY in WebSocket messages
    remote.py       exec and attach on a session
    forward.py      port-forward on a session
    descriptor.py   pipes, terminals and sockets, awaited

What a command, a container or a port is it does not know: the runtime hands it in (``Endpoint``).
"""

from podyard.streaming.config import StreamingConfig
from podyard.streaming.descriptor import Descriptor
from podyard.streaming.forward import Forward
from podyard.streaming.remote import RemoteCommand, Streams
from podyard.streaming.server import StreamingServer

__all__ = ["Descriptor", "Forward", "RemoteCommand", "StreamingConfig", "StreamingServer", "Streams"]
