"""Lists asked for as streams; where a runtime has no such calls (containerd 1.6), the client asks in one piece."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.support.images import Images
from tests.support.pods import Kit
from tests.support.servers import Podyard, Server

from podyard.client import Client
from podyard.cri import api


def by_id(messages: Iterable[Any]) -> list[Any]:
    """In an order of our own: containerd's differs from call to call."""
    return sorted(messages, key=lambda message: str(message.id))


async def test_lists_are_the_same_in_both_ways(kit: Kit, server: Server) -> None:
    sandbox_id = await kit.sandbox(labels={"stream": "yes"})
    container_ids = {await kit.create(sandbox_id, ["true"]) for _ in range(3)}
    async with await Client.connect(server.endpoint, streamed_lists=True) as client:
        wanted = api.ContainerFilter(pod_sandbox_id=sandbox_id)
        assert {container.id for container in await client.runtime.list_containers(wanted)} == container_ids
        runtime, other = client.runtime, kit.client.runtime
        assert by_id(await runtime.list_containers(wanted)) == by_id(await other.list_containers(wanted))
        labelled = api.PodSandboxFilter(label_selector={"stream": "yes"})
        assert [sandbox.id for sandbox in await client.runtime.list_pod_sandbox(labelled)] == [sandbox_id]
        assert by_id(await client.images.list_images()) == by_id(await kit.client.images.list_images())
        assert client.runtime.streamed_lists == (server.name == "podyard")


async def test_statistics_and_metrics_are_streamed_too(podyard: Podyard, images: Images) -> None:
    async with await Client.connect(podyard.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, podyard.folder / "tests", images.busybox, podyard.name)
        try:
            sandbox_id = await kit.sandbox()
            container_id = await kit.start(sandbox_id, ["sleep", "1000"])
            stream = client.runtime.stream
            one = api.StreamContainerStatsRequest(filter=api.ContainerStatsFilter(id=container_id))
            stats = [answer async for answer in stream("StreamContainerStats", one)]
            assert [entry.attributes.id for answer in stats for entry in answer.container_stats] == [container_id]
            pod = api.StreamPodSandboxStatsRequest(filter=api.PodSandboxStatsFilter(id=sandbox_id))
            pods = [answer async for answer in stream("StreamPodSandboxStats", pod)]
            assert [entry.attributes.id for answer in pods for entry in answer.pod_sandbox_stats] == [sandbox_id]
            found = [part async for part in stream("StreamPodSandboxMetrics", api.StreamPodSandboxMetricsRequest())]
            assert sandbox_id in {entry.pod_sandbox_id for part in found for entry in part.pod_sandbox_metrics}
        finally:
            await kit.close()
