"""SPDY/3.1 for both roles, without input or output (SPDY Protocol, drafts 3 and 3.1).

connection = Connection("server")
for event in connection.receive_data(data): ...
connection.reply(stream_id); connection.send_data(stream_id, b"..."); write(connection.data_to_send())
"""

from podyard.wire.spdy.connection import Connection, Limits, Role
from podyard.wire.spdy.events import (
    DataReceived,
    Event,
    GoneAway,
    HeadersReceived,
    PingReplied,
    ProtocolFailed,
    StreamOpened,
    StreamReplied,
    StreamReset,
    StreamWritable,
)
from podyard.wire.spdy.frames import GoAwayStatus, ResetStatus

__all__ = [
    "Connection",
    "DataReceived",
    "Event",
    "GoAwayStatus",
    "GoneAway",
    "HeadersReceived",
    "Limits",
    "PingReplied",
    "ProtocolFailed",
    "ResetStatus",
    "Role",
    "StreamOpened",
    "StreamReplied",
    "StreamReset",
    "StreamWritable",
]
