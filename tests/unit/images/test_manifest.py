"""Manifests, configurations and the choice of a platform."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podyard.errors import InvalidArgument, NotFound, PodyardError, Unimplemented
from podyard.images.manifest import (
    DOCKER_CONFIG,
    LAYERS_LIMIT,
    OCI_CONFIG,
    Descriptor,
    Index,
    Manifest,
    Platform,
    chain_ids,
    parse_configuration,
    parse_manifest,
)
from podyard.images.platforms import Host

DIGEST = "sha256:" + "1" * 64


def _manifest(**changes: Any) -> bytes:
    part = {"digest": DIGEST, "size": 1}
    document = {"schemaVersion": 2, "config": {**part, "mediaType": OCI_CONFIG}, "layers": [part], **changes}
    return json.dumps(document).encode()


def test_manifests_and_indexes_are_told_apart_by_what_they_hold() -> None:
    manifest = parse_manifest(_manifest(), "m")
    assert isinstance(manifest, Manifest)
    assert manifest.layers[0].digest == DIGEST
    index = parse_manifest(json.dumps({"manifests": [{"digest": DIGEST, "size": 1}]}).encode(), "i")
    assert isinstance(index, Index)


@pytest.mark.parametrize("layers", [[], None])
def test_a_manifest_without_layers_is_one(layers: list[Any] | None) -> None:
    assert parse_manifest(_manifest(layers=layers), "m").layers == []  # type: ignore[union-attr]


@pytest.mark.parametrize("media_type", [DOCKER_CONFIG, "application/octet-stream", ""])
def test_docker_s_configurations_are_images_too(media_type: str) -> None:
    parse_manifest(_manifest(config={"digest": DIGEST, "size": 1, "mediaType": media_type}), "m")


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"manifests": [{"digest": DIGEST, "size": 1}]}, InvalidArgument, "neither clearly a manifest nor clearly"),
        ({"layers": [{"digest": "sha256:x", "size": 1}]}, InvalidArgument, "no digest"),
        ({"layers": [{"digest": "../../etc", "size": 1}]}, InvalidArgument, "no digest"),
        ({"layers": [{"digest": DIGEST, "size": -1}]}, InvalidArgument, "impossible size"),
        ({"layers": [{"digest": DIGEST}]}, InvalidArgument, "cannot be read"),
        ({"layers": [{"digest": DIGEST, "size": 1}] * (LAYERS_LIMIT + 1)}, InvalidArgument, "500 are allowed"),
        ({"layers": 3}, InvalidArgument, "cannot be read"),
        ({"schemaVersion": 1}, Unimplemented, "schema 1"),
        ({"config": {"digest": DIGEST, "size": 1, "mediaType": "application/x-helm"}}, Unimplemented, "x-helm"),
        (
            {"layers": [{"digest": DIGEST, "size": 1, "mediaType": "docker.foreign.tar", "urls": ["https://a"]}]},
            Unimplemented,
            "only its vendor distributes",
        ),
    ],
)
def test_bad_manifests_are_refused(changes: dict[str, Any], kind: type[PodyardError], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        parse_manifest(_manifest(**changes), "the manifest of x")
    assert "the manifest of x" in str(caught.value)


def test_a_configuration_tells_how_to_run() -> None:
    config = {
        "User": "1:2",
        "Env": ["A=b", "broken", "C="],
        "Entrypoint": ["/init"],
        "Cmd": None,
        "Volumes": {"/data": {}},
        "WorkingDir": "/w",
        "Labels": {"k": "v"},
        "StopSignal": "SIGQUIT",
        "ExposedPorts": {"80/tcp": {}},
    }
    document = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"diff_ids": [DIGEST]}}
    configuration = parse_configuration(json.dumps(document).encode(), "c")
    settings = configuration.settings()
    assert configuration.diff_ids == (DIGEST,)
    assert (settings.user, settings.env, settings.entrypoint, settings.cmd) == ("1:2", ("A=b", "C="), ("/init",), ())
    assert (settings.volumes, settings.working_dir, settings.labels) == (("/data",), "/w", {"k": "v"})
    assert (settings.stop_signal, settings.os, settings.architecture) == ("SIGQUIT", "linux", "amd64")


@pytest.mark.parametrize("text", ["{}", '{"config": null}', '{"config": {"Env": null}, "rootfs": {"diff_ids": null}}'])
def test_a_configuration_may_leave_everything_out(text: str) -> None:
    configuration = parse_configuration(text.encode(), "c")
    assert (configuration.diff_ids, configuration.settings().env) == ((), ())


def test_a_shell_line_becomes_a_command() -> None:
    settings = parse_configuration(b'{"config": {"Cmd": "echo a"}}', "c").settings()
    assert settings.cmd == ("/bin/sh", "-c", "echo a")


def test_a_configuration_with_a_false_digest_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no digest"):
        parse_configuration(b'{"rootfs": {"diff_ids": ["x"]}}', "c")


def test_chain_ids_are_those_of_the_specification() -> None:
    # The chain of two layers, computed with sha256sum.
    chain = chain_ids(["sha256:" + "a" * 64, "sha256:" + "b" * 64])
    assert chain[0] == "sha256:" + "a" * 64
    assert chain[1] == "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c"
    assert chain_ids([]) == ()


ARM = Host("arm", ("v7", "v6", ""))


def _for(os: str, architecture: str, variant: str = "") -> Descriptor:
    return Descriptor(f"{os}/{architecture}/{variant}", 1, platform=Platform(architecture, os, variant))


def test_the_best_variant_is_chosen() -> None:
    entries = [_for("linux", "arm"), _for("windows", "arm", "v7"), _for("linux", "arm", "v6"), _for("linux", "amd64")]
    assert [one.digest for one in ARM.choices(entries, "i")] == ["linux/arm/v6"]
    assert [one.digest for one in ARM.choices(entries[:1], "i")] == ["linux/arm/"]
    silent = [Descriptor("one", 1), Descriptor("two", 1, "application/vnd.oci.image.index.v1+json")]
    other = Descriptor("other", 1, "application/x-is-no-manifest")
    assert ARM.choices([_for("linux", "amd64"), other, *silent], "i") == silent


def test_without_a_fitting_entry_the_platforms_are_named() -> None:
    with pytest.raises(NotFound, match="i has no image for linux/arm: it has linux/amd64, windows/arm/v7"):
        ARM.choices([_for("linux", "amd64"), _for("windows", "arm", "v7")], "i")
    with pytest.raises(NotFound, match="it has nothing"):
        ARM.choices([], "i")


@pytest.mark.parametrize(
    ("architecture", "name"),
    [("amd64", "x86_64"), ("amd64", "x86-64"), ("amd64", "AMD64"), ("arm64", "aarch64"), ("386", "i386")],
)
def test_an_architecture_has_other_names(architecture: str, name: str) -> None:
    host = Host(architecture, ("",))
    entries = [_for("linux", "arm"), _for("Linux", name)]
    assert host.choices(entries, "i") == entries[1:]
    assert host.runs("Linux", name)
    assert not Host("arm", ("",)).runs("linux", name)


def test_a_configured_variant_goes_first() -> None:
    assert Host.this("v9").variants[0] == "v9"
    assert Host.this().runs("linux", Host.this().architecture)
    assert Host.this().runs("", "")
    assert not Host.this().runs("windows", Host.this().architecture)
