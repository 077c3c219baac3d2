"""The protocol: the Container Runtime Interface, and what podyard adds to it.

    api.proto       runtime.v1, written here; names, numbers and types are the published ones
    admin.proto     podyard.admin.v1: loading archives, watching pulls
    api_pb2         generated from api.proto, imported as ``api``
    admin_pb2       generated from admin.proto, imported as ``admin``
    services        the calls by service and version, for the server and the client alike

v1alpha2 has no messages of its own here: on the wire it is a subset of v1. ``scripts/generate_protocol.py`` generates
the modules; with ``--check`` it tells whether they are current.
"""

from podyard.cri import admin_pb2 as admin
from podyard.cri import api_pb2 as api

__all__ = ["admin", "api"]
