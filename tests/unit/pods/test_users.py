"""Pods with a user namespace of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import ResourceExhausted, Unimplemented
from podyard.manifest.model import Pod
from podyard.pods import PodEngine, users
from podyard.pods.folders import Folders, PodFolder

MakePod = Callable[..., Pod]


def folder(root: Path, name: str) -> PodFolder:
    return Folders(root, root / "logs").of("default", name, "1")


def test_each_pod_has_a_block_for_as_long_as_its_directory_is_there(tmp_path: Path) -> None:
    first = users.first_id(tmp_path, folder(tmp_path, "a"))
    second = users.first_id(tmp_path, folder(tmp_path, "b"))
    assert (first, second) == (65536, 131072)
    assert users.first_id(tmp_path, folder(tmp_path, "a")) == first
    # One whose Pod has no directory is free again after a while.
    folder(tmp_path, "b").path.mkdir()
    for link in (tmp_path / ".users").iterdir():
        os.utime(link, (time.time() - 7200,) * 2, follow_symlinks=False)
    assert users.first_id(tmp_path, folder(tmp_path, "c")) == first
    assert users.first_id(tmp_path, folder(tmp_path, "d")) == 3 * 65536
    assert users.first_id(tmp_path, folder(tmp_path, "b")) == second


def test_there_is_an_end_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "BLOCKS", 1)
    users.first_id(tmp_path, folder(tmp_path, "a"))
    with pytest.raises(ResourceExhausted, match="all 1 blocks of user ids are taken"):
        users.first_id(tmp_path, folder(tmp_path, "b"))


async def test_sandbox_containers_and_mounts_have_the_same_users(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.handlers = [api.RuntimeHandler(features=api.RuntimeHandlerFeatures(user_namespaces=True))]
    main = "- {name: main, image: 'busybox:1', volumeMounts: [{name: v, mountPath: /v}]}"
    await engine.run(make_pod("hostUsers: false\nvolumes: [{name: v, emptyDir: {}}]", main))
    mapping = api.IDMapping(host_id=65536, container_id=0, length=65536)
    (sandbox,) = runtime.sandbox_configs.values()
    config = runtime.config("main")
    for security in (sandbox.linux.security_context, config.linux.security_context):
        assert security.namespace_options.userns_options == api.UserNamespace(uids=[mapping], gids=[mapping])
    assert {tuple(mount.uidMappings) == tuple(mount.gidMappings) == (mapping,) for mount in config.mounts} == {True}


async def test_an_endpoint_that_has_none_makes_no_such_pod(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    with pytest.raises(Unimplemented, match="hostUsers false, but the endpoint's runtime handler ''"):
        await engine.run(make_pod("hostUsers: false"))
    assert "RunPodSandbox web" not in runtime.calls


async def test_strict_groups_need_an_endpoint_that_keeps_to_them(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod("securityContext: {supplementalGroupsPolicy: Strict}")
    runtime.knows_groups_policy = False
    with pytest.raises(Unimplemented, match="adds the image's groups always"):
        await engine.run(pod)
    assert runtime.sandboxes == {}
    runtime.knows_groups_policy = True
    await engine.run(pod)
    assert runtime.config("main").linux.security_context.supplemental_groups_policy == api.Strict
