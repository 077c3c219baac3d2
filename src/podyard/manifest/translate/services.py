"""Variables that tell containers of Services (Kubernetes documentation, "Service", environment variables)."""

from __future__ import annotations

from collections.abc import Iterable

from podyard.manifest.objects import Service


def service_variables(services: Iterable[Service]) -> dict[str, str]:
    """For each Service where it is, in the forms of Kubernetes and of old docker links."""
    variables: dict[str, str] = {}
    for service in services:
        name = service.name.upper().replace("-", "_")
        variables[f"{name}_SERVICE_HOST"] = service.ip
        host = f"[{service.ip}]" if ":" in service.ip else service.ip
        for index, port in enumerate(service.ports):
            url = f"{port.protocol.lower()}://{host}:{port.port}"
            link = f"{name}_PORT_{port.port}_{port.protocol.upper()}"
            if index == 0:
                variables |= {f"{name}_SERVICE_PORT": str(port.port), f"{name}_PORT": url}
            if port.name:
                variables[f"{name}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
            variables |= {
                link: url,
                f"{link}_PROTO": port.protocol.lower(),
                f"{link}_PORT": str(port.port),
                f"{link}_ADDR": service.ip,
            }
    return variables
