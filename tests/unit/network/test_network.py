"""Attaching and detaching with plugins that fail, hang and answer as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from podyard.errors import DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, Unavailable
from podyard.network import AttachRequest, PortMapping

if TYPE_CHECKING:
    from conftest import Scripted

RequestFor = Callable[..., AttachRequest]


@pytest.fixture
def chain(scripted: Scripted) -> Scripted:
    scripted.install("one", "two", "three")
    scripted.configure({"type": "one"}, {"type": "two", "capabilities": {"portMappings": True}}, {"type": "three"})
    return scripted


def records(scripted: Scripted) -> list[str]:
    return sorted(file.name for file in (scripted.folder / "state/attachments").iterdir())


async def test_plugins_run_in_order_each_with_the_result_of_the_one_before(
    chain: Scripted, request_for: RequestFor
) -> None:
    network = chain.network()
    await network.start()
    request = request_for(port_mappings=(PortMapping(80, 8080),))
    result = await network.attach(request)
    assert result.ips == ("10.0.0.2", "10.0.0.3", "10.0.0.4")
    assert result.raw["ips"] == [{"address": f"10.0.0.{last}/24"} for last in (2, 3, 4)]
    assert chain.verbs() == [("one", "ADD"), ("two", "ADD"), ("three", "ADD")]
    (_, _, env, first), (_, _, second_env, second), (_, _, _, third) = chain.calls()
    assert (
        env
        == second_env
        == {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": request.sandbox_id,
            "CNI_NETNS": str(request.netns),
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;"
            f"K8S_POD_INFRA_CONTAINER_ID={request.sandbox_id};K8S_POD_UID=u1",
            "CNI_PATH": str(chain.bin),
        }
    )
    assert first == {"type": "one", "name": "net", "cniVersion": "1.0.0"}
    assert second["runtimeConfig"] == {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]}
    assert "capabilities" not in second
    assert [len(config["prevResult"]["ips"]) for config in (second, third)] == [1, 2]
    await network.close()


async def test_detaching_runs_them_backwards_with_what_the_add_had_though_the_configuration_has_changed(
    chain: Scripted, request_for: RequestFor
) -> None:
    network = chain.network()
    await network.start()
    result = await network.attach(request_for())
    added = chain.calls()
    chain.configure({"type": "one", "other": True}, name="another")
    await network.detach(request_for())
    deleted = chain.calls()[3:]
    assert [(name, verb) for name, verb, *_ in deleted] == [("three", "DEL"), ("two", "DEL"), ("one", "DEL")]
    for (_, _, add_env, add), (_, _, del_env, config) in zip(added, reversed(deleted), strict=True):
        assert config == {**add, "prevResult": result.raw}
        # Nothing is pinned there: the plugins are told that the namespace is gone.
        assert del_env == add_env | {"CNI_COMMAND": "DEL", "CNI_NETNS": ""}
    assert records(chain) == []
    await network.close()


async def test_detaching_again_or_without_attaching_runs_nothing(chain: Scripted, request_for: RequestFor) -> None:
    network = chain.network()
    await network.start()
    await network.detach(request_for())
    assert chain.verbs() == []
    await network.attach(request_for())
    await network.detach(request_for())
    await network.detach(request_for())
    assert len(chain.calls()) == 6
    await network.close()


async def test_a_failed_add_stops_the_chain_and_detaching_undoes_all_of_it(
    chain: Scripted, request_for: RequestFor
) -> None:
    chain.tell("two", ADD={"exit": 1, "stdout": json.dumps({"code": 100, "msg": "no cable"})})
    network = chain.network()
    await network.start()
    with pytest.raises(Internal, match="the CNI plugin two failed to ADD of sandbox aaaaaaaaaaaa: no cable"):
        await network.attach(request_for())
    assert chain.verbs() == [("one", "ADD"), ("two", "ADD")]
    await network.detach(request_for())
    assert chain.verbs()[2:] == [("three", "DEL"), ("two", "DEL"), ("one", "DEL")]
    assert all("prevResult" not in config for _, _, _, config in chain.calls()[2:])
    assert records(chain) == []
    await network.close()


async def test_a_daemon_that_was_killed_while_attaching_detaches_in_its_next_life(
    chain: Scripted, request_for: RequestFor
) -> None:
    chain.tell("three", ADD={"exit": 1})
    first = chain.network()
    await first.start()
    with pytest.raises(Internal):
        await first.attach(request_for())
    await first.close()
    (chain.folder / "state/attachments/half.new").write_text("{")
    second = chain.network()
    await second.start()
    assert records(chain) == [f"{'a' * 64}.json"]
    assert await second.gc(set()) == []
    assert chain.verbs()[3:] == [("three", "DEL"), ("two", "DEL"), ("one", "DEL")]
    assert records(chain) == []
    await second.close()


async def test_detaching_goes_on_past_a_failing_plugin_and_can_be_repeated(
    chain: Scripted, request_for: RequestFor
) -> None:
    network = chain.network()
    await network.start()
    await network.attach(request_for())
    chain.tell("three", DEL={"exit": 1, "stderr": "stuck"})
    with pytest.raises(Internal, match=r"the CNI plugin three failed to DEL .*stuck"):
        await network.detach(request_for())
    assert chain.verbs()[3:] == [("three", "DEL"), ("two", "DEL"), ("one", "DEL")]
    chain.tell("three")
    await network.detach(request_for())
    assert len(chain.calls()) == 9
    assert records(chain) == []
    await network.close()


async def test_a_plugin_that_hangs_is_killed_and_named(chain: Scripted, request_for: RequestFor) -> None:
    chain.tell("two", ADD={"hang": True}, DEL={"hang": True})
    network = chain.network(timeout=0.5)
    await network.start()
    with pytest.raises(DeadlineExceeded, match="the CNI plugin two did not end its ADD"):
        await network.attach(request_for())
    with pytest.raises(DeadlineExceeded, match="the CNI plugin two did not end its DEL"):
        await network.detach(request_for())
    assert records(chain) == [f"{'a' * 64}.json"]
    await network.close()


async def test_an_answer_that_is_no_result_is_an_error(chain: Scripted, request_for: RequestFor) -> None:
    chain.tell("one", ADD={"stdout": "hello"})
    network = chain.network()
    await network.start()
    with pytest.raises(Internal, match=r"the CNI plugin one .*its result cannot be read"):
        await network.attach(request_for())
    await network.close()


async def test_a_network_that_gives_no_address_is_an_error(chain: Scripted, request_for: RequestFor) -> None:
    chain.tell("three", ADD={"stdout": '{"ips":[]}'})
    network = chain.network()
    await network.start()
    with pytest.raises(Internal, match="gave sandbox aaaaaaaaaaaa no address"):
        await network.attach(request_for())
    await network.close()


async def test_attaching_twice_is_refused(chain: Scripted, request_for: RequestFor) -> None:
    network = chain.network()
    await network.start()
    await network.attach(request_for())
    with pytest.raises(FailedPrecondition, match="detach it first"):
        await network.attach(request_for())
    assert len(chain.calls()) == 3
    await network.close()


async def test_a_name_that_would_add_an_argument_is_refused(chain: Scripted, request_for: RequestFor) -> None:
    network = chain.network()
    await network.start()
    with pytest.raises(InvalidArgument, match="K8S_POD_NAME='a;B=c'"):
        await network.attach(request_for(name="a;B=c"))
    assert (chain.verbs(), records(chain)) == ([], [])
    await network.close()


async def test_the_first_attachment_to_a_network_runs_alone_and_the_others_together(
    scripted: Scripted, request_for: RequestFor
) -> None:
    scripted.install("one")
    scripted.configure({"type": "one"})
    scripted.tell("one", ADD={"together": 4})
    network = scripted.network()
    await network.start()
    await asyncio.gather(*(network.attach(request_for(name * 64)) for name in "abcd"))
    assert [verb for _, verb in scripted.verbs()] == ["ADD", "ended", *["ADD"] * 3, *["ended"] * 3]
    await network.close()


async def test_without_configuration_the_network_is_not_ready_and_says_what_to_do(
    scripted: Scripted, request_for: RequestFor
) -> None:
    network = scripted.network()
    await network.start()
    status = network.status()
    assert (status.ready, status.reason, status.config) == (False, "NetworkPluginNotReady", None)
    assert f"no CNI configuration in {scripted.conf}" in status.message
    with pytest.raises(Unavailable, match=r"network\.default = true"):
        await network.attach(request_for())
    await network.detach(request_for())
    await network.close()


async def test_the_default_network_does_not_stand_in_for_a_broken_configuration(scripted: Scripted) -> None:
    (scripted.conf / "10-a.conflist").write_text("{")
    network = scripted.network(default=True)
    await network.start()
    status = network.status()
    assert not status.ready
    assert "10-a.conflist is not used" in status.message
    await network.close()


async def test_a_configuration_that_appears_is_used_at_once(scripted: Scripted, request_for: RequestFor) -> None:
    scripted.install("one")
    network = scripted.network()
    await network.start()
    assert not network.status().ready
    scripted.configure({"type": "one"})
    status = network.status()
    assert (status.ready, status.reason, status.message) == (True, "", "")
    assert status.config == {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "one"}]}
    assert (await network.attach(request_for())).ips == ("10.0.0.2",)
    await network.close()


async def test_a_plugin_that_is_not_installed_makes_the_network_not_ready(
    scripted: Scripted, request_for: RequestFor
) -> None:
    scripted.install("one")
    scripted.configure({"type": "one", "ipam": {"type": "pool"}}, {"type": "two"})
    network = scripted.network()
    await network.start()
    assert "the CNI plugins are not installed: pool, two" in network.status().message
    with pytest.raises(Unavailable, match="plugin is not installed: two"):
        await network.attach(request_for())
    assert records(scripted) == []
    await network.close()


async def test_a_version_that_a_plugin_does_not_speak_is_refused(scripted: Scripted, request_for: RequestFor) -> None:
    scripted.install("one")
    scripted.configure({"type": "one"}, version="1.1.0")
    network = scripted.network()
    await network.start()
    assert "wants CNI version 1.1.0, which its plugins do not all speak (one: 0.3.1" in network.status().message
    with pytest.raises(FailedPrecondition, match=r"1\.1\.0"):
        await network.attach(request_for())
    await network.close()


async def test_of_several_versions_the_newest_common_one_is_spoken(scripted: Scripted, request_for: RequestFor) -> None:
    scripted.install("one")
    scripted.configure({"type": "one"}, version="0.3.1", cniVersions=["1.0.0", "1.1.0"])
    network = scripted.network()
    await network.start()
    await network.attach(request_for())
    assert [config["cniVersion"] for *_, config in scripted.calls()] == ["1.0.0"]
    await network.close()


async def test_before_0_4_0_a_del_has_no_result(scripted: Scripted, request_for: RequestFor) -> None:
    scripted.install("one")
    scripted.configure({"type": "one"}, version="0.3.1")
    network = scripted.network()
    await network.start()
    await network.attach(request_for())
    await network.detach(request_for())
    assert "prevResult" not in scripted.calls()[-1][3]
    await network.close()


async def test_a_record_without_its_content_is_removed(
    chain: Scripted, request_for: RequestFor, caplog: pytest.LogCaptureFixture
) -> None:
    network = chain.network()
    await network.start()
    (chain.folder / "state/attachments" / f"{'a' * 64}.json").touch()
    await network.detach(request_for())
    assert (records(chain), chain.verbs()) == ([], [])
    assert "cannot be read and is removed" in caplog.text
    await network.close()


class TestPluginsOfCni11:
    @pytest.fixture
    def modern(self, scripted: Scripted) -> Scripted:
        scripted.install("one", "two")
        for name in ("one", "two"):
            scripted.tell(name, versions=["1.0.0", "1.1.0"])
        scripted.configure({"type": "one"}, {"type": "two"}, version="1.1.0")
        return scripted

    async def test_are_asked_for_their_status(self, modern: Scripted) -> None:
        answer = {"exit": 1, "stdout": json.dumps({"code": 50, "msg": "no daemon"})}
        modern.tell("two", versions=["1.1.0"], STATUS=answer)
        network = modern.network()
        await network.start()
        status = network.status()
        assert (status.ready, status.reason) == (False, "NetworkPluginNotReady")
        assert "the CNI plugin two failed to STATUS: no daemon" in status.message
        assert modern.verbs() == [("one", "STATUS"), ("two", "STATUS")]
        assert modern.calls()[0][3] == {"type": "one", "name": "net", "cniVersion": "1.1.0"}
        await network.close()

    async def test_are_not_ready_before_they_have_answered(self, modern: Scripted) -> None:
        network = modern.network()
        status = network.status()
        assert (status.ready, status.message) == (
            False,
            "network net: its CNI plugins are being asked for their status",
        )
        await network.close()

    async def test_are_told_which_attachments_are_valid(self, modern: Scripted, request_for: RequestFor) -> None:
        network = modern.network()
        await network.start()
        for name in ("a", "b", "c"):
            await network.attach(request_for(name * 64))
        assert await network.gc({"a" * 64, "c" * 64, "never-attached"}) == []
        verbs = modern.verbs()
        assert verbs[-4:] == [("two", "DEL"), ("one", "DEL"), ("one", "GC"), ("two", "GC")]
        _, _, env, config = modern.calls()[-1]
        valid = [{"containerID": name * 64, "ifname": "eth0"} for name in ("a", "c")]
        assert config["cni.dev/valid-attachments"] == config["cni.dev/attachments"] == valid
        assert env["CNI_COMMAND"] == "GC"
        await network.close()

    async def test_are_not_told_where_the_configuration_forbids_it(self, modern: Scripted) -> None:
        modern.configure({"type": "one"}, {"type": "two"}, version="1.1.0", disableGC=True)
        network = modern.network()
        await network.start()
        assert await network.gc(set()) == []
        assert ("one", "GC") not in modern.verbs()
        await network.close()

    async def test_that_cannot_collect_are_reported(self, modern: Scripted) -> None:
        modern.tell("one", versions=["1.1.0"], GC={"exit": 1, "stderr": "nope"})
        network = modern.network()
        await network.start()
        (problem,) = await network.gc(set())
        assert "the CNI plugin one failed to GC: nope" in problem
        await network.close()


async def test_gc_goes_on_past_what_cannot_be_detached(chain: Scripted, request_for: RequestFor) -> None:
    network = chain.network()
    await network.start()
    await network.attach(request_for("b" * 64))
    chain.tell("one", DEL={"exit": 1, "stderr": "stuck"})
    (problem,) = await network.gc(set())
    assert problem.startswith(
        "sandbox bbbbbbbbbbbb is gone and cannot be detached from its network: the CNI plugin one"
    )
    assert records(chain) == [f"{'b' * 64}.json"]
    with pytest.raises(FailedPrecondition, match="sandboxes are still attached"):
        await network.remove_default_network()
    await network.close()
