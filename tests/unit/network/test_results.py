"""What plugins answer, and what pods ask of them, in tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from podyard.errors import FailedPrecondition, Internal, InvalidArgument, PodyardError, Unavailable
from podyard.network import AttachRequest, PortMapping
from podyard.network.capabilities import BURST, EGRESS, INGRESS, runtime_configs
from podyard.network.configuration import parse
from podyard.network.results import addresses, parse_result, plugin_error

INTERFACES = [{"name": "br0"}, {"name": "veth1"}, {"name": "net1", "sandbox": "/n"}, {"name": "eth0", "sandbox": "/n"}]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, ()),
        (
            {"ips": [{"version": "4", "address": "10.1.2.3/24", "interface": 3}], "interfaces": INTERFACES},
            ("10.1.2.3",),
        ),
        ({"ips": [{"address": "10.1.2.3/24"}, {"address": "fd00:0::5/64"}]}, ("10.1.2.3", "fd00::5")),
        ({"ips": [{"address": "fd00::5/64"}, {"address": "10.1.2.3/24"}]}, ("fd00::5", "10.1.2.3")),
        ({"ips": [{"address": "10.1.2.3/24", "interface": 0}], "interfaces": INTERFACES}, ()),
        (
            {
                "ips": [
                    {"address": "10.9.0.1/24", "interface": 2},
                    {"address": "10.1.2.3/24", "interface": 3},
                    {"address": "10.1.2.3/24"},
                ],
                "interfaces": INTERFACES,
            },
            ("10.1.2.3", "10.9.0.1"),
        ),
    ],
)
def test_addresses_are_those_inside_the_sandbox_its_own_interface_first(
    result: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert addresses(result, "eth0") == expected


@pytest.mark.parametrize(
    "ips", [[{}], ["10.0.0.1"], [{"address": "ten"}], [{"address": "10.0.0.1/24", "interface": 9}]]
)
def test_a_result_that_breaks_the_specification_is_refused(ips: list[Any]) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        addresses({"ips": ips, "interfaces": INTERFACES}, "eth0")


@pytest.mark.parametrize("ips", [5, {"address": "10.0.0.1/24"}])
def test_addresses_that_are_no_list_are_refused(ips: Any) -> None:
    with pytest.raises(ValueError, match="no list"):
        addresses({"ips": ips}, "eth0")


def test_a_result_without_version_gets_the_one_asked_for() -> None:
    assert parse_result(b'{"ips":[]}', "0.4.0")["cniVersion"] == "0.4.0"
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_result(b"[]", "0.4.0")


@pytest.mark.parametrize(
    ("stdout", "stderr", "kind", "text"),
    [
        ('{"code":11,"msg":"busy","details":"later"}', "", Unavailable, r"busy; later \(CNI error 11\)"),
        ('{"code":50,"msg":"no"}', "", Unavailable, r"no \(CNI error 50\)"),
        ('{"code":7,"msg":"bad field"}', "", FailedPrecondition, "bad field"),
        ('{"code":999,"msg":"boom"}', "noise", Internal, r"boom \(CNI error 999\)"),
        ("", "panic: oh\n", Internal, r"panic: oh \(exit code 2\)"),
        ("text", "", Internal, r"text \(exit code 2\)"),
        ("", "", Internal, "said nothing"),
        ("[1]", "", Internal, "exit code 2"),
    ],
)
def test_a_plugins_error_is_translated(stdout: str, stderr: str, kind: type[PodyardError], text: str) -> None:
    error = plugin_error("the CNI plugin x failed to ADD", 2, stdout.encode(), stderr.encode())
    assert type(error) is kind
    with pytest.raises(kind, match=f"the CNI plugin x failed to ADD: .*{text}"):
        raise error


def test_a_plugin_that_was_killed_is_said_to_be() -> None:
    assert "signal 9" in str(plugin_error("it", -9, b"", b""))


RequestFor = Callable[..., AttachRequest]


def configs(request: AttachRequest, *capabilities: str) -> dict[str, Any]:
    plugins = [{"type": "first"}, {"type": "second", "capabilities": dict.fromkeys(capabilities, True)}]
    raw = {"cniVersion": "1.0.0", "name": "n", "plugins": plugins}
    first, second = runtime_configs(parse(json.dumps(raw).encode(), is_list=True), request)
    assert first == {}
    return second


def test_a_plugin_gets_only_the_capabilities_that_it_declares(request_for: RequestFor) -> None:
    request = request_for(
        port_mappings=(PortMapping(80, 8080), PortMapping(53, 53, "udp", "127.0.0.1")),
        cgroup_parent="/pods/a",
        dns_servers=("10.0.0.10",),
        dns_options=("ndots:5",),
        annotations={"a": "b"},
    )
    mappings = [
        {"hostPort": 80, "containerPort": 8080, "protocol": "tcp"},
        {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
    ]
    assert configs(request) == {}
    assert configs(request, "portMappings") == {"portMappings": mappings}
    assert configs(request, "dns", "cgroupPath", "ipRanges", "io.kubernetes.cri.pod-annotations") == {
        "dns": {"servers": ["10.0.0.10"], "options": ["ndots:5"]},
        "cgroupPath": "/pods/a",
        "io.kubernetes.cri.pod-annotations": {"a": "b"},
    }


def test_host_ports_that_no_plugin_takes_are_warned_of(
    request_for: RequestFor, caplog: pytest.LogCaptureFixture
) -> None:
    assert configs(request_for(port_mappings=(PortMapping(80, 80),)), "dns") == {}
    assert "asks for portMappings, but no plugin of the CNI network n declares" in caplog.text


@pytest.mark.parametrize(
    ("text", "rate"), [("10M", 10_000_000), ("1Ki", 1024), ("1.5G", 1_500_000_000), ("1P", 10**15), ("64000", 64000)]
)
def test_bandwidth_comes_from_the_annotations(request_for: RequestFor, text: str, rate: int) -> None:
    request = request_for(annotations={INGRESS: text})
    assert configs(request, "bandwidth") == {"bandwidth": {"ingressRate": rate, "ingressBurst": BURST}}
    both = request_for(annotations={INGRESS: "1M", EGRESS: text})
    assert configs(both, "bandwidth")["bandwidth"]["egressRate"] == rate


@pytest.mark.parametrize("text", ["", "fast", "-1M", "10", "2P", "1e9", "10MB", "9" * 30])
def test_a_bandwidth_that_is_none_is_refused(request_for: RequestFor, text: str) -> None:
    with pytest.raises(InvalidArgument, match=EGRESS):
        configs(request_for(annotations={EGRESS: text}), "bandwidth")
