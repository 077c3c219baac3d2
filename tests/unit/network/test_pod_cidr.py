"""A kubelet's pod CIDR: into a template, into the default network, or nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.network import Network
from podyard.network.attachments import Attachment, Attachments
from podyard.network.config import NetworkConfig
from podyard.network.pod_cidr import FILE, parse_subnets
from podyard.network.template import render

TEMPLATE = """{
  "cniVersion": "1.0.0", "name": "k8s",{{/* as containerd's users have it */}}
  "plugins": [{
    "type": "ptp",
    "ipam": {
      "type": "host-local", "subnet": "{{.PodCIDR}}",
      "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
      "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]
    }
  }]
}
"""


def network(folder: Path, **settings: Any) -> Network:
    found = Network(NetworkConfig(conf_dir=folder / "conf", **settings), folder / "state")
    for name in ("attachments", "bridges"):
        (folder / "state" / name).mkdir(parents=True, exist_ok=True)
    return found


def with_template(folder: Path, text: str = TEMPLATE) -> Network:
    (folder / "template").write_text(text)
    return network(folder, template=folder / "template")


async def test_a_template_becomes_the_hosts_configuration(tmp_path: Path) -> None:
    found = with_template(tmp_path)
    await found.set_pod_cidr("10.1.2.0/24,fd00:1::/64")
    written = json.loads((tmp_path / "conf" / FILE).read_text())
    assert written["plugins"][0]["ipam"] == {
        "type": "host-local",
        "subnet": "10.1.2.0/24",
        "ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00:1::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    assert (found.status().config or {})["name"] == "k8s"


async def test_the_same_again_changes_nothing_and_another_one_does(tmp_path: Path) -> None:
    found = with_template(tmp_path)
    await found.set_pod_cidr("10.1.2.0/24")
    before = (tmp_path / "conf" / FILE).stat()
    await found.set_pod_cidr("10.1.2.0/24")
    assert (tmp_path / "conf" / FILE).stat() == before
    await found.set_pod_cidr("10.1.3.0/24")
    assert "10.1.3.0/24" in (tmp_path / "conf" / FILE).read_text()
    assert [file.name for file in (tmp_path / "conf").iterdir()] == [FILE]


async def test_an_administrators_configuration_stays(tmp_path: Path) -> None:
    found = with_template(tmp_path)
    (tmp_path / "conf").mkdir()
    mine = {"cniVersion": "1.0.0", "name": "mine", "plugins": [{"type": "ptp"}]}
    (tmp_path / "conf" / "50-mine.conflist").write_text(json.dumps(mine))
    await found.set_pod_cidr("10.1.2.0/24")
    assert [file.name for file in (tmp_path / "conf").iterdir()] == ["50-mine.conflist"]
    await network(tmp_path).set_pod_cidr("10.1.2.0/24")
    assert [file.name for file in (tmp_path / "conf").iterdir()] == ["50-mine.conflist"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "makes no CNI configuration"),
        (TEMPLATE.replace("k8s", ""), "its name"),
        ("{{.Podcidr}}", r"\.Podcidr"),
        ("{{range .Routes}}", "no {{end}}"),
        ("{{template x}}", "unknown"),
    ],
)
async def test_a_template_that_makes_no_configuration_is_told_and_nothing_is_written(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(FailedPrecondition, match=why):
        await with_template(tmp_path, text).set_pod_cidr("10.1.2.0/24")
    assert not (tmp_path / "conf").exists()


async def test_a_missing_template_is_told(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="No such file"):
        await network(tmp_path, template=tmp_path / "none").set_pod_cidr("10.1.2.0/24")


async def test_the_default_network_takes_the_subnets_and_keeps_them_after_a_restart(tmp_path: Path) -> None:
    await network(tmp_path).set_pod_cidr("10.1.2.0/24, fd00:1::/64")
    again = network(tmp_path)
    await again.start()
    ranges = (again.status().config or {})["plugins"][0]["ipam"]["ranges"]
    assert ranges == [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00:1::/64"}]]
    await again.close()


async def test_the_default_networks_subnets_stay_while_pods_have_addresses_of_them(tmp_path: Path) -> None:
    found = network(tmp_path)
    attachment = Attachment(
        sandbox_id="a" * 64, netns="", ifname="eth0", args="", network="podyard", version="1.0.0", plugins=[]
    )
    attachments = Attachments(tmp_path / "state" / "attachments")
    attachments.save(attachment)
    with pytest.raises(FailedPrecondition, match="stop aaaaaaaaaaaa first"):
        await found.set_pod_cidr("10.1.2.0/24")
    await found.set_pod_cidr(NetworkConfig().subnets[0])
    attachments.save(msgspec.structs.replace(attachment, network="another"))
    await found.set_pod_cidr("10.1.2.0/24")


@pytest.mark.parametrize("text", ["10.1.2.0/31", "10.1.2.0/32", "10.1.2.0/24,fd00::/127"])
async def test_a_subnet_of_which_the_default_network_can_give_no_address_is_refused(tmp_path: Path, text: str) -> None:
    found = network(tmp_path)
    with pytest.raises(InvalidArgument, match="no address for a pod"):
        await found.set_pod_cidr(text)
    await found.set_pod_cidr("10.1.2.0/30,fd00::/126")


@pytest.mark.parametrize("text", ["", "x", "10.1.2.3/24", "10.1.0.0/24,10.2.0.0/24", "10.1.0.0/24,,"])
def test_what_are_no_subnets_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="pod CIDR"):
        parse_subnets(text)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain { } text", "plain { } text"),
        ("{{ .A }}", "1"),
        ("a {{- .A -}} b", "a1b"),
        ("a {{- /* x */ -}} b", "ab"),
        ("{{range .L}}<{{.}}>{{end}}", "<x><y>"),
        ("{{range $x := .L}}{{$x}}{{.A}}{{end}}", "x1y1"),
        ("{{range $i, $x := .L}}{{if $i}},{{else}}:{{end}}{{$x}}{{end}}", ":x,y"),
        ("{{range .None}}{{.Nowhere}}{{end}}", ""),
        ("{{range .L}}{{range .L}}{{.}}{{end}};{{end}}", "xy;xy;"),
        ("{{if .None}}a{{else}}b{{end}}{{if .A}}c{{end}}", "bc"),
    ],
)
def test_what_the_template_language_has(template: str, text: str) -> None:
    assert render(template, {"A": 1, "L": ["x", "y"], "None": []}) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{.L}}",
        "{{end}}",
        "{{else}}",
        "{{if .A}}",
        "{{if .A}}{{else}}",
        "{{range .A}}{{end}}",
        "{{if and .A .L}}{{end}}",
    ],
)
def test_what_it_does_not_have(template: str) -> None:
    with pytest.raises(ValueError, match=r"\{\{"):
        render(template, {"A": 1, "L": ["x", "y"]})
