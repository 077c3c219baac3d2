"""policy.json, and signatures as cosign attaches them, made with a well-kept library."""

from __future__ import annotations

import base64
import builtins
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from tests.support import registry
from tests.support.faulty import Proxy, status
from tests.unit.images.conftest import MakeStore, Pushed

from podyard.errors import DataLoss, RegistryUnavailable, SignatureValidationFailed
from podyard.images.content import digest_of
from podyard.images.layout import LayoutWriter, WrittenManifest
from podyard.images.manifest import OCI_CONFIG, OCI_MANIFEST
from podyard.images.trust import policy
from podyard.images.trust.sigstore import PAYLOAD, SIGNATURE, Identity
from podyard.model.reference import parse

ACCEPT, REJECT = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
DIGEST = "sha256:" + "0" * 64

Sign = Callable[[bytes], bytes]


def write(folder: Path, default: Any, **scopes: Any) -> Path:
    """A policy with scopes of the transport docker."""
    path = folder / "policy.json"
    path.write_text(json.dumps({"default": default, "transports": {"docker": scopes, "dir": {"": REJECT}}}))
    return path


async def accepted(path: Path, name: str) -> bool:
    try:
        return await policy.requirements(path, parse(name)) == []
    except SignatureValidationFailed:
        return False


async def test_without_a_file_everything_is_accepted(tmp_path: Path) -> None:
    assert await policy.requirements(tmp_path / "none", parse("a")) == []
    assert await policy.requirements(None, parse("a")) == []


async def test_the_most_specific_scope_counts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        REJECT,
        **{
            "docker.io": ACCEPT,
            "docker.io/library/busybox": REJECT,
            "docker.io/library/busybox:1": ACCEPT,
            "r.test:5000/a": ACCEPT,
            "*.wild.test": ACCEPT,
            "no.wild.test": REJECT,
        },
    )
    for name in ("alpine", "busybox:1", "r.test:5000/a/b", "x.wild.test/a", "y.x.wild.test/a"):
        assert await accepted(path, name), name
    for name in ("busybox", f"busybox@{DIGEST}", "r.test:5000/b", "r.test/a", "wild.test/a", "no.wild.test/a"):
        assert not await accepted(path, name), name
    path = write(tmp_path, REJECT, **{"": ACCEPT, "r.test": REJECT})
    assert await accepted(path, "busybox")
    assert not await accepted(path, "r.test/a")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "cannot be used"),
        ("{}", "cannot be used"),
        ('{"default": []}', "has no requirement"),
        ('{"default": [{"type": "reject"}]}', "rejected by the policy"),
        ('{"default": [{"type": "signedBy", "keyType": "GPGKeys"}]}', "'signedBy', which podyard cannot check"),
        ('{"default": [{"type": "sigstoreSigned"}]}', "without a key"),
        ('{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "rekorPublicKeyPath": "/r"}]}', "Rekor"),
        ('{"default": [{"type": "sigstoreSigned", "fulcio": {}}]}', "Fulcio"),
        ('{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "x"}}]}', "cannot be"),
        ('{"default": [{"type": "insecureAcceptAnything"}], "transport": {}}', "unknown field `transport`"),
        ('{"default": [{"type": "insecureAcceptAnything", "x": 1}]}', "unknown field `x`"),
        (
            '{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity":'
            ' {"type": "matchRepository", "prefx": "a"}}]}',
            "unknown field `prefx`",
        ),
        (
            '{"default": [{"type": "insecureAcceptAnything"}],'
            ' "transports": {"docker": {"": [{"type": "reject"}]}, "docker": {}}}',
            "'docker' is there twice",
        ),
    ],
)
async def test_what_cannot_be_met_or_checked_is_refused(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "policy.json").write_text(content)
    with pytest.raises(SignatureValidationFailed, match=f"^SignatureValidationFailed: .*{text}"):
        await policy.requirements(tmp_path / "policy.json", parse("a"))


@pytest.mark.parametrize(
    ("identity", "name", "signed", "allowed"),
    [
        (Identity(), "r.test/a:1", "r.test/a:1", True),
        (Identity(), "r.test/a:1", "r.test/a:2", False),
        (Identity(), f"r.test/a@{DIGEST}", "r.test/a:2", True),
        (Identity(type="matchExact"), f"r.test/a@{DIGEST}", "r.test/a:2", False),
        (Identity(type="matchRepository"), "r.test/a:1", "r.test/a", True),
        (Identity(type="matchRepository"), "r.test/a:1", "r.test/b", False),
        (Identity(type="exactReference", docker_reference="x.test/a:3"), "r.test/a:1", "x.test/a:3", True),
        (Identity(type="exactReference", docker_reference="x.test/a:3"), "r.test/a:1", "r.test/a:1", False),
        (Identity(type="exactRepository", docker_repository="x.test/a"), "r.test/a:1", "x.test/a:9", True),
        (Identity(type="remapIdentity", prefix="m.test", signed_prefix="r.test/x"), "m.test/a:1", "r.test/x/a:1", True),
        (Identity(type="remapIdentity", prefix="m.test", signed_prefix="r.test/x"), "m.test/a:1", "m.test/a:1", False),
        (Identity(type="remapIdentity", prefix="m.test", signed_prefix="r.test/x"), "n.test/a:1", "n.test/a:1", True),
    ],
)
def test_the_name_that_was_signed_must_fit(identity: Identity, name: str, signed: str, allowed: bool) -> None:
    assert identity.allows(parse(name), parse(signed)) == allowed


@dataclass(frozen=True)
class Key:
    """Signs; ``public`` is in PEM form."""

    sign: Sign
    public: bytes


def _key(kind: str) -> Key:
    match kind:
        case "ecdsa":
            elliptic = ec.generate_private_key(ec.SECP256R1())
            return Key(lambda data: elliptic.sign(data, ec.ECDSA(hashes.SHA256())), _pem(elliptic))
        case "rsa":
            large = rsa.generate_private_key(65537, 2048)
            return Key(lambda data: large.sign(data, padding.PKCS1v15(), hashes.SHA256()), _pem(large))
        case _:
            edwards = ed25519.Ed25519PrivateKey.generate()
            return Key(edwards.sign, _pem(edwards))


def _pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return encoded


class Signer:
    """Attaches signatures to an image in a registry."""

    def __init__(self, address: str, layout: LayoutWriter, repository: str) -> None:
        self._address = address
        self._layout = layout
        self._repository = repository
        self._layers: list[dict[str, Any]] = []

    def attach(self, digest: str, key: Key, name: str, *, of: str = "", spoil: bool = False) -> None:
        """Sign ``of`` (the digest itself by default) as ``name``, and attach it to the image ``digest``."""
        critical = {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": of or digest},
            "type": "cosign container image signature",
        }
        payload = json.dumps({"critical": critical, "optional": None}).encode()
        signature = key.sign(payload + b" " if spoil else payload)
        self._layers.append(
            {
                "mediaType": PAYLOAD,
                "digest": self._layout._blob(payload),
                "size": len(payload),
                "annotations": {SIGNATURE: base64.b64encode(signature).decode()},
            }
        )
        config = b"{}"
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": self._layout._blob(config), "size": len(config)},
            "layers": self._layers,
        }
        data = json.dumps(manifest).encode()
        written = WrittenManifest(self._layout._blob(data), len(data), OCI_MANIFEST)
        tag = f"{digest.replace(':', '-')}.sig"
        registry.push(self._address, self._layout, written, self._repository, tag)


@pytest.fixture
def signer(upstream: str, layout: LayoutWriter, pushed: Pushed) -> Signer:
    return Signer(upstream, layout, pushed.repository)


@pytest.fixture
def key() -> Key:
    return _key("ecdsa")


def _signed(folder: Path, *keys: Key, identity: str = "matchRepository") -> Path:
    """A policy that asks for a signature by one of the keys."""
    datas = [base64.b64encode(key.public).decode() for key in keys]
    return write(folder, [{"type": "sigstoreSigned", "keyDatas": datas, "signedIdentity": {"type": identity}}])


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
async def test_a_signed_image_is_pulled(
    upstream: str, pushed: Pushed, signer: Signer, make_store: MakeStore, tmp_path: Path, kind: str
) -> None:
    key = _key(kind)
    signer.attach(pushed.manifest.digest, key, f"{upstream}/{pushed.repository}")
    (tmp_path / "key.pem").write_bytes(key.public)
    requirement = {"type": "sigstoreSigned", "keyPath": str(tmp_path / "key.pem")}
    path = write(tmp_path, REJECT, **{upstream: [{**requirement, "signedIdentity": {"type": "matchRepository"}}]})
    store = await make_store(signature_policy=path)
    assert (await store.pull(f"{upstream}/{pushed.repository}:1")).id == pushed.manifest.image_id


async def test_an_image_without_a_signature_is_refused_before_its_layers_come(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, tmp_path: Path, key: Key
) -> None:
    store = await make_store(signature_policy=_signed(tmp_path, key))
    with pytest.raises(SignatureValidationFailed, match=r"^SignatureValidationFailed: .*has no signature \(sha256-"):
        await store.pull(f"{proxy.address}/{pushed.repository}:1")
    assert proxy.count(pushed.layers[0]).total() == proxy.count(pushed.layers[1]).total() == 0
    assert store.images() == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"of": DIGEST}, f"a signature is for {DIGEST}"),
        ({"spoil": True}, "not by any of the keys"),
        ({"name": "other.test/image"}, "is for the name 'other.test/image'"),
        ({"key": _key("ecdsa")}, "not by any of the keys"),
        ({"key": _key("rsa")}, "not by any of the keys"),
        ({"name": "A B"}, "payload cannot be read"),
    ],
    ids=["another image", "another payload", "another name", "another key", "another kind of key", "no name"],
)
async def test_a_signature_that_does_not_fit_is_refused(
    upstream: str,
    pushed: Pushed,
    signer: Signer,
    make_store: MakeStore,
    tmp_path: Path,
    key: Key,
    change: dict[str, Any],
    text: str,
) -> None:
    given = {"key": key, "name": f"{upstream}/{pushed.repository}", **change}
    signer.attach(pushed.manifest.digest, given.pop("key"), given.pop("name"), **given)
    store = await make_store(signature_policy=_signed(tmp_path, key))
    with pytest.raises(SignatureValidationFailed, match=text):
        await store.pull(f"{upstream}/{pushed.repository}:1")


@pytest.mark.parametrize("identity", ["matchExact", "matchRepoDigestOrExact"])
async def test_a_signature_for_a_repository_is_none_for_its_latest(
    upstream: str,
    pushed: Pushed,
    layout: LayoutWriter,
    signer: Signer,
    make_store: MakeStore,
    tmp_path: Path,
    key: Key,
    identity: str,
) -> None:
    name = f"{upstream}/{pushed.repository}"
    registry.push(upstream, layout, pushed.manifest, pushed.repository, "latest")
    signer.attach(pushed.manifest.digest, key, name)
    store = await make_store(signature_policy=_signed(tmp_path, key, identity=identity))
    with pytest.raises(SignatureValidationFailed, match=f"is for the name '{name}'"):
        await store.pull(f"{name}:latest")


async def test_one_good_signature_among_others_is_enough(
    upstream: str, pushed: Pushed, signer: Signer, make_store: MakeStore, tmp_path: Path, key: Key
) -> None:
    name = f"{upstream}/{pushed.repository}"
    signer.attach(pushed.manifest.digest, _key("rsa"), name)
    signer.attach(pushed.manifest.digest, key, "other.test/x")
    signer.attach(pushed.manifest.digest, key, name)
    store = await make_store(signature_policy=_signed(tmp_path, _key("ed25519"), key))
    assert (await store.pull(f"{name}:1")).id == pushed.manifest.image_id


async def test_all_requirements_must_be_met(
    upstream: str, pushed: Pushed, signer: Signer, make_store: MakeStore, tmp_path: Path, key: Key
) -> None:
    name = f"{upstream}/{pushed.repository}"
    other = _key("ecdsa")
    data = [base64.b64encode(one.public).decode() for one in (key, other)]
    identity = {"signedIdentity": {"type": "matchRepository"}}
    wanted = [{"type": "sigstoreSigned", "keyData": one, **identity} for one in data]
    store = await make_store(signature_policy=write(tmp_path, wanted))
    signer.attach(pushed.manifest.digest, key, name)
    with pytest.raises(SignatureValidationFailed):
        await store.pull(f"{name}:1")
    signer.attach(pushed.manifest.digest, other, name)
    await store.pull(f"{name}:1")


async def test_who_signed_an_index_has_signed_its_images(
    upstream: str, pushed: Pushed, layout: LayoutWriter, signer: Signer, make_store: MakeStore, tmp_path: Path, key: Key
) -> None:
    index = layout.add_index([pushed.manifest])
    registry.push(upstream, layout, index, pushed.repository, "index")
    signer.attach(index.digest, key, f"{upstream}/{pushed.repository}:index")
    store = await make_store(signature_policy=_signed(tmp_path, key, identity="matchExact"))
    await store.pull(f"{upstream}/{pushed.repository}:index")
    with pytest.raises(SignatureValidationFailed):
        await store.pull(f"{upstream}/{pushed.repository}:1")


@pytest.mark.parametrize("whole", [True, False], ids=["the index", "its manifest"])
async def test_a_signature_that_a_mirror_has_is_enough_where_the_registry_is_not_there(
    upstream: str,
    pushed: Pushed,
    layout: LayoutWriter,
    signer: Signer,
    make_store: MakeStore,
    tmp_path: Path,
    key: Key,
    whole: bool,
) -> None:
    index = layout.add_index([pushed.manifest])
    registry.push(upstream, layout, index, pushed.repository, "index")
    gone = f"127.0.0.1:{registry.free_port()}"
    signer.attach(index.digest if whole else pushed.manifest.digest, key, f"{gone}/{pushed.repository}")
    store = await make_store(signature_policy=_signed(tmp_path, key), mirrors={gone: [upstream]})
    await store.pull(f"{gone}/{pushed.repository}:index")


async def test_a_registry_that_cannot_say_whether_there_are_signatures_fails_the_pull(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, tmp_path: Path, key: Key
) -> None:
    proxy.fault(".sig", status(500), times=9)
    store = await make_store(attempts=1, signature_policy=_signed(tmp_path, key))
    with pytest.raises(RegistryUnavailable):
        await store.pull(f"{proxy.address}/{pushed.repository}:1")


async def test_a_payload_that_was_replaced_is_refused(
    proxy: Proxy, upstream: str, pushed: Pushed, signer: Signer, make_store: MakeStore, tmp_path: Path, key: Key
) -> None:
    from tests.support.faulty import alter

    signer.attach(pushed.manifest.digest, key, f"{proxy.address}/{pushed.repository}")
    payload = signer._layers[0]["digest"]
    proxy.fault(payload, alter(lambda body: body.replace(b"cosign", b"cosine")))
    store = await make_store(signature_policy=_signed(tmp_path, key))
    with pytest.raises(DataLoss, match=payload):
        await store.pull(f"{proxy.address}/{pushed.repository}:1")
    assert digest_of(b"") != payload


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"no key", "no public key"),
        (_pem(dsa.generate_private_key(2048)), "none of ECDSA, Ed25519 and RSA"),
        (None, "cannot be read: No such file"),
    ],
    ids=["no key", "DSA", "no file"],
)
async def test_a_key_that_cannot_be_used_is_told(
    upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path, data: bytes | None, text: str
) -> None:
    if data is not None:
        (tmp_path / "key.pem").write_bytes(data)
    path = write(tmp_path, [{"type": "sigstoreSigned", "keyPath": str(tmp_path / "key.pem")}])
    store = await make_store(signature_policy=path)
    with pytest.raises(SignatureValidationFailed, match=rf"key\.pem .*{text}"):
        await store.pull(f"{upstream}/{pushed.repository}:1")


async def test_without_the_library_signatures_cannot_be_verified(
    upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return load(name, *args)

    store = await make_store(signature_policy=_signed(tmp_path, key))
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SignatureValidationFailed, match=r"install podyard\[signatures\]"):
        await store.pull(f"{upstream}/{pushed.repository}:1")
