"""The CRI client: what a kubelet is to a runtime, as a library. It works with any CRI runtime.

    endpoints       where a runtime listens
    connection      the channel to one endpoint; which version of a service is spoken; re-dialling
    kubelet         the kubelet's time limits and what it demands of answers
    service         what the clients of all services share: ``call``
    runtime         RuntimeClient: sandboxes and containers
    streams/        exec, attach and port-forward: sessions with a runtime's streaming server
    images          ImageClient
    admin           AdminClient: what podyard has beyond the CRI
    health          whether a gRPC server serves, for probes
    errors          gRPC's errors as podyard's
    client          Client: one runtime, its services together

    async with await Client.connect("unix:///run/podyard/podyard.sock") as client:
        for container in await client.runtime.list_containers():
            print(container.id)

Every method raises classes of ``podyard.errors``; none of gRPC's leave this package.
"""

from podyard.client.admin import AdminClient
from podyard.client.client import Client
from podyard.client.endpoints import Endpoint
from podyard.client.health import health_check
from podyard.client.images import ImageClient
from podyard.client.runtime import RuntimeClient

__all__ = ["AdminClient", "Client", "Endpoint", "ImageClient", "RuntimeClient", "health_check"]
