"""Version, Status, RuntimeConfig: what the runtime says of itself."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from podyard import __version__
from podyard.cri import api
from podyard.runtime.context import Context

KUBELET_API_VERSION = "0.1.0"
"""The only value of VersionResponse.version that kubelets accept."""

RUNTIME_NAME = "podyard"


def version(api_version: str) -> api.VersionResponse:
    """``api_version``: the CRI version of the service that was asked ("v1")."""
    return api.VersionResponse(
        version=KUBELET_API_VERSION,
        runtime_name=RUNTIME_NAME,
        runtime_version=__version__,
        runtime_api_version=api_version,
    )


def runtime_config(context: Context) -> api.RuntimeConfigResponse:
    """The cgroup driver, which a kubelet takes over from here."""
    driver = api.SYSTEMD if context.systemd_cgroups else api.CGROUPFS
    return api.RuntimeConfigResponse(linux=api.LinuxRuntimeConfiguration(cgroup_driver=driver))


def status(context: Context, *, verbose: bool) -> api.StatusResponse:
    """Both conditions that the kubelet wants, the handlers and their features."""
    network = context.network.status()
    conditions = [
        api.RuntimeCondition(type="RuntimeReady", status=True),
        api.RuntimeCondition(type="NetworkReady", status=network.ready, reason=network.reason, message=network.message),
    ]
    handlers = [
        api.RuntimeHandler(
            name=name,
            features=api.RuntimeHandlerFeatures(
                recursive_read_only_mounts=context.host.recursive_read_only,
                user_namespaces=not handler.no_user_namespaces,
            ),
        )
        for name, handler in sorted(context.handlers.items())
    ]
    response = api.StatusResponse(
        status=api.RuntimeStatus(conditions=conditions),
        runtime_handlers=handlers,
        features=api.RuntimeFeatures(
            supplemental_groups_policy=True,
            user_namespaces_host_network=not context.handler("").no_user_namespaces,
            mount_options=True,
        ),
    )
    if verbose:
        for key, value in _details(context, network.config, network.message).items():
            response.info[key] = value
    return response


def _details(context: Context, cni: dict[str, Any] | None, cni_problem: str) -> dict[str, str]:
    in_flight = [{"operation": str(operation), "doing": doing} for operation, doing in context.engine.all_in_flight()]
    settings = msgspec.to_builtins(context.config, enc_hook=str)
    settings["containerdRootDir"] = settings["rootDir"] = str(context.paths.root)
    return {
        "config": json.dumps(settings),
        "cniconfig": json.dumps(cni or {}),
        "lastCNILoadStatus": cni_problem or "OK",
        "runtimes": json.dumps({name: str(handler.runtime.path) for name, handler in context.handlers.items()}),
        "operations": json.dumps(in_flight),
    }
