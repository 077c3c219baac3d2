"""What CNI plugins answer: results of ADD, and errors (CNI 1.1.0, section 5; 0.3.0 to 0.4.0 alike)."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from podyard.errors import FailedPrecondition, Internal, PodyardError, Unavailable

STDERR_LIMIT = 2000
"""Characters of a failing plugin's error output that an error repeats."""

_ERRORS: dict[int, type[PodyardError]] = {
    1: FailedPrecondition,  # incompatible CNI version
    2: FailedPrecondition,  # unsupported field in the network configuration
    7: FailedPrecondition,  # invalid network configuration
    11: Unavailable,  # try again later
    50: Unavailable,  # the plugin cannot serve ADD
    51: Unavailable,  # nor are existing attachments well served
}


def parse_result(stdout: bytes, version: str) -> dict[str, Any]:
    """The JSON object that a plugin printed. Raises ValueError with what is wrong."""
    result = msgspec.json.decode(stdout)
    if not isinstance(result, dict):
        raise ValueError("the result is not a JSON object")  # noqa: TRY004
    result.setdefault("cniVersion", version)
    return result


def addresses(result: dict[str, Any], ifname: str) -> tuple[str, ...]:
    """A pod's addresses without their prefix length: first those of ``ifname``, then others inside the sandbox.

    An address that names no interface counts for ``ifname``; one of an interface of the host does not count.

    Raises ValueError when the result is not what the specification says.
    """
    found: list[tuple[bool, str]] = []
    interfaces = result.get("interfaces") or []
    ips = result.get("ips") or []
    if not isinstance(ips, list):
        raise ValueError(f"the result's ips {ips!r} are no list")  # noqa: TRY004
    for entry in ips:
        try:
            address = str(ipaddress.ip_interface(entry["address"]).ip)
            index = entry.get("interface")
            interface = None if index is None else interfaces[index]
            if interface is None or interface.get("sandbox"):
                found.append((interface is not None and interface.get("name") != ifname, address))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the result's address {entry!r} cannot be read: {error!r}") from error
    found.sort(key=lambda item: item[0])
    return tuple(dict.fromkeys(address for _, address in found))


def plugin_error(what: str, code: int, stdout: bytes, stderr: bytes) -> PodyardError:
    """The error for a plugin that ended with a code other than 0. ``what``: "the CNI plugin bridge failed to ADD …".

    "Try again later" and "not available" become Unavailable, a configuration that the plugin refuses becomes
    FailedPrecondition, anything else Internal.
    """
    try:
        answer = msgspec.json.decode(stdout)
    except msgspec.DecodeError:
        answer = None
    number = answer.get("code") if isinstance(answer, dict) else None
    if isinstance(answer, dict) and (number is not None or answer.get("msg")):
        parts = [str(answer[key]) for key in ("msg", "details") if answer.get(key)]
        kind = _ERRORS.get(number, Internal) if isinstance(number, int) else Internal
        return kind(f"{what}: {'; '.join(parts)} (CNI error {number})")
    text = (stderr or stdout).decode(errors="replace").strip()[-STDERR_LIMIT:]
    ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
    return Internal(f"{what}: {text or 'it said nothing'} ({ended})")
