"""UpdateRuntimeConfig: a kubelet's pod CIDR."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.pods import Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import InvalidArgument

TEMPLATE = {
    "cniVersion": "1.0.0",
    "name": "kubelet",
    "plugins": [
        {
            "type": "bridge",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": ["RANGES"], "routes": [{"dst": "0.0.0.0/0"}]},
        }
    ],
}
RANGES = '{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}'


async def test_a_node_with_a_network_of_its_own_keeps_it(kit: Kit) -> None:
    await kit.client.runtime.update_runtime_config("10.1.2.0/24")
    await kit.client.runtime.call("UpdateRuntimeConfig", api.UpdateRuntimeConfigRequest())
    sandbox_id = await kit.sandbox()
    network = (await kit.client.runtime.pod_sandbox_status(sandbox_id)).status.network
    assert not network.ip.startswith("10.1.2.")


async def test_a_template_becomes_the_pods_network(tmp_path: Path, images: Images) -> None:
    template = tmp_path / "template"
    plugins = json.loads(json.dumps(TEMPLATE))
    plugins["plugins"][0]["ipam"]["dataDir"] = str(tmp_path / "ipam")
    server = Podyard(tmp_path / "own")
    plugins["plugins"][0]["bridge"] = server.network.bridge
    template.write_text(json.dumps(plugins).replace('"RANGES"', RANGES))
    server.folder.mkdir()
    server.configure()
    (server.cni_conf / "10-bridge.conflist").unlink()
    network = f'[network]\ndefault = false\ntemplate = "{template}"'
    server.config.write_text(server.config.read_text().replace("[network]", network))
    server.spawn()
    try:
        await server.ready()
        async with await Client.connect(server.endpoint) as client:
            kit = Kit(client, server.folder / "tests", images.busybox, server.name)
            assert not await network_ready(client)
            with pytest.raises(InvalidArgument, match="pod CIDR"):
                await client.runtime.update_runtime_config("10.1.2.3/24")
            for _ in range(2):
                await client.runtime.update_runtime_config(f"{server.network.prefix}.7.0/24")
            assert await network_ready(client)
            sandbox_id = await kit.sandbox()
            assert (await client.runtime.pod_sandbox_status(sandbox_id)).status.network.ip.startswith(
                f"{server.network.prefix}.7."
            )
            await kit.close()
    finally:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.reset)


async def network_ready(client: Client) -> bool:
    conditions = (await client.runtime.status()).status.conditions
    return next(condition.status for condition in conditions if condition.type == "NetworkReady")
