"""Version, Status, RuntimeConfig, UpdateRuntimeConfig: what a runtime says of itself."""

from __future__ import annotations

import asyncio
import json

from podyard.cri import api
from podyard.errors import InvalidArgument, PodyardError, Unimplemented
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, holds, one_of, skip
from podyard.validate.kit import Kit


@case("version", "the version is the one that kubelets accept")
async def _(kit: Kit) -> None:
    equal((await kit.runtime.version()).version, "0.1.0", "version")


@case("version", "the API version is that of the service that was asked")
async def _(kit: Kit) -> None:
    # An older runtime is asked in v1alpha2.
    asked = kit.client.runtime_version
    equal((await kit.runtime.version()).runtime_api_version, asked, "runtime_api_version")


@table(
    "version",
    {
        "the runtime has a name": ("runtime_name",),
        "the runtime has a version": ("runtime_version",),
    },
)
async def _(kit: Kit, field: str) -> None:
    holds(getattr(await kit.runtime.version(), field), f"{field} is not empty", "nothing")


@case("version", "the answer does not depend on the version that the client sends")
async def _(kit: Kit) -> None:
    answer = await kit.runtime.call("Version", api.VersionRequest(version="v1alpha1"))
    equal(answer, await kit.runtime.version(), "the answer")


@table("status", {f"the condition {name} holds": (name,) for name in ("RuntimeReady", "NetworkReady")})
async def _(kit: Kit, name: str) -> None:
    conditions = [entry for entry in (await kit.runtime.status()).status.conditions if entry.type == name]
    equal([entry.status for entry in conditions], [True], f"conditions {name} ({conditions})")


@case("status", "no condition comes twice")
async def _(kit: Kit) -> None:
    names = [entry.type for entry in (await kit.runtime.status()).status.conditions]
    equal(sorted(names), sorted(set(names)), "conditions")


@case("status", "details come only when they are asked for")
async def _(kit: Kit) -> None:
    equal(dict((await kit.runtime.status()).info), {}, "info without verbose")
    holds((await kit.runtime.status(verbose=True)).info, "info with verbose is not empty", "nothing")


@case("status", "the runtime's configuration is among the details, as JSON")
async def _(kit: Kit) -> None:
    info = (await kit.runtime.status(verbose=True)).info
    contains(info, "config", "info")
    holds(isinstance(json.loads(info["config"]), dict), "info[config] is a JSON object", info["config"])


@case("status", "the default runtime handler is listed under the empty name")
async def _(kit: Kit) -> None:
    names = [handler.name for handler in (await kit.runtime.status()).runtime_handlers]
    if not names:
        skip("the endpoint does not list its runtime handlers")
    contains(names, "", "names of runtime handlers")
    equal(sorted(names), sorted(set(names)), "names of runtime handlers, each once")


@case("status", "each runtime handler that is listed runs a sandbox")
async def _(kit: Kit) -> None:
    handlers = (await kit.runtime.status()).runtime_handlers
    if not handlers:
        skip("the endpoint does not list its runtime handlers")
    for handler in handlers:
        config = kit.sandbox_config()
        sandbox_id = await kit.session.making(kit.runtime.run_pod_sandbox(config, handler.name))
        equal((await kit.pod_status(sandbox_id)).runtime_handler, handler.name, "runtime_handler of the sandbox")


@case("status", "twenty questions at once are all answered alike")
async def _(kit: Kit) -> None:
    answers = await asyncio.gather(*(kit.runtime.status() for _ in range(20)))
    equal({len(answer.status.conditions) for answer in answers}, {len(answers[0].status.conditions)}, "conditions")


@case("runtime config", "the cgroup driver is told", needs="the call RuntimeConfig")
async def _(kit: Kit) -> None:
    answer = await kit.runtime.runtime_config()
    holds(answer.HasField("linux"), "linux is filled", answer)
    one_of(answer.linux.cgroup_driver, (api.SYSTEMD, api.CGROUPFS), "cgroup_driver")


@table(
    "runtime config",
    {
        "an update without anything changes nothing": (api.UpdateRuntimeConfigRequest(),),
        "an update with an empty pod CIDR changes nothing": (
            api.UpdateRuntimeConfigRequest(runtime_config=api.RuntimeConfig(network_config=api.NetworkConfig())),
        ),
    },
    needs="the call UpdateRuntimeConfig",
)
async def _(kit: Kit, request: api.UpdateRuntimeConfigRequest) -> None:
    await kit.runtime.call("UpdateRuntimeConfig", request)
    conditions = (await kit.runtime.status()).status.conditions
    holds(all(entry.status for entry in conditions), "all conditions hold", conditions)


@case(
    "runtime config",
    "a pod CIDR that is no subnet is refused, or changes nothing",
    needs="the call UpdateRuntimeConfig",
)
async def _(kit: Kit) -> None:
    network = api.NetworkConfig(pod_cidr="no-subnet")
    request = api.UpdateRuntimeConfigRequest(runtime_config=api.RuntimeConfig(network_config=network))
    call = kit.runtime.call("UpdateRuntimeConfig", request)
    if kit.strict:
        await kit.refused(call, InvalidArgument, says="no-subnet")
    else:
        try:
            await call
        except Unimplemented:
            raise
        except PodyardError as error:
            contains(str(error), "no-subnet", "the error")
    conditions = (await kit.runtime.status()).status.conditions
    holds(all(entry.status for entry in conditions), "all conditions hold", conditions)
