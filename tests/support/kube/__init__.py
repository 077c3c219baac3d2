"""A small Kubernetes API server for tests.

    store      objects, their versions, and the history that watches are served from
    patches    merge patch and strategic merge patch
    pods       what is special about Pods: graceful deletion
    selection  which objects a request is about
    reviews    who has a token, and who may do what
    server     REST and watch over HTTP or HTTPS, and the faults that a test asks for

It has no controllers, schedulers or admission: a test plays those parts itself.
"""

from tests.support.kube.server import ApiServer, serving
from tests.support.kube.store import Refused

__all__ = ["ApiServer", "Refused", "serving"]
