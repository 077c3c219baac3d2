"""The protocol is the published one, and the committed code is what the .proto files give."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from podyard.cri import admin, api, services

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "cri"


@pytest.fixture
def facts() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"the protocol's facts are not beside this clone ({SHARED}): nothing to compare with")
    return SHARED


def test_calls_messages_and_enums_are_those_that_are_published(facts: Path, tmp_path: Path) -> None:
    compiled = descriptor_pb2.FileDescriptorSet()
    api.DESCRIPTOR.CopyToProto(compiled.file.add())
    (tmp_path / "set").write_bytes(compiled.SerializeToString())
    command = [sys.executable, str(facts / "check_protocol.py"), str(tmp_path / "set"), str(facts / "v1.json")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "43 rpcs, 175 messages, 11 enums" in result.stdout


@pytest.mark.parametrize("version", services.VERSIONS)
def test_each_version_has_exactly_its_published_calls(facts: Path, version: str) -> None:
    published = json.loads((facts / f"{version}.json").read_text(encoding="utf-8"))
    assert published["package"] == f"runtime.{version}"
    for service, calls in published["services"].items():
        want = {(call["rpc"], call["request"], call["response"], call.get("server_streaming", False)) for call in calls}
        have = {
            (method.name, method.request.DESCRIPTOR.name, method.response.DESCRIPTOR.name, method.server_streaming)
            for method in services.METHODS[service]
            if version in method.versions
        }
        assert have == want


def test_a_service_is_named_with_its_version() -> None:
    assert services.service_name("v1alpha2", "ImageService") == "runtime.v1alpha2.ImageService"
    assert services.service_name(services.ADMIN, "Admin") == admin.DESCRIPTOR.services_by_name["Admin"].full_name
    for service in ("RuntimeService", "ImageService"):
        assert services.service_name("v1", service) == api.DESCRIPTOR.services_by_name[service].full_name


def test_methods_use_the_generated_classes() -> None:
    by_name = {method.name: method for method in services.METHODS["RuntimeService"]}
    assert by_name["Version"].request is api.VersionRequest
    assert by_name["GetContainerEvents"].response is api.ContainerEventResponse
    assert {method.versions for method in services.METHODS["Admin"]} == {("admin",)}


def test_the_compiled_files_are_named_with_their_path_so_that_no_other_package_has_the_same() -> None:
    assert api.DESCRIPTOR.name == "podyard/cri/api.proto"
    assert admin.DESCRIPTOR.name == "podyard/cri/admin.proto"


def test_the_secrets_of_a_registry_are_marked_as_such_in_the_definition() -> None:
    fields = api.AuthConfig.DESCRIPTOR.fields_by_name
    assert {name for name, field in fields.items() if field.GetOptions().debug_redact} == {
        "password",
        "auth",
        "identity_token",
        "registry_token",
    }


def test_the_generated_code_is_current() -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is a development dependency")
    script = ROOT / "scripts" / "generate_protocol.py"
    result = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_generated_code_that_differs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is a development dependency")
    spec = importlib.util.spec_from_file_location("generate_protocol", ROOT / "scripts" / "generate_protocol.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    folder = tmp_path / "podyard" / "cri"
    folder.mkdir(parents=True)
    for name in ("api.proto", "admin.proto"):
        (folder / name).write_bytes((ROOT / "src" / "podyard" / "cri" / name).read_bytes())
    monkeypatch.setattr(generator, "SOURCE", tmp_path)
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    (folder / "admin_pb2.py").write_text("# edited by hand\n", encoding="utf-8")
    assert generator.main(["--check"]) == 1
    assert "podyard/cri/admin_pb2.py" in capsys.readouterr().err
