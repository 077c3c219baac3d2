"""Names of images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podyard.errors import InvalidArgument
from podyard.model.reference import Reference, is_digest, parse

SHA256 = "sha256:" + "a" * 64
SHA512 = "sha512:" + "b" * 128


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox:1", "docker.io/library/busybox:1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry:5000/app:2", "registry:5000/app:2"),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("Registry/app", "Registry/app:latest"),
        ("quay.io/org/app__x-y.z--w:V_1.2-3", "quay.io/org/app__x-y.z--w:V_1.2-3"),
        (f"busybox@{SHA256}", f"docker.io/library/busybox@{SHA256}"),
        (f"ghcr.io/a/b:1@{SHA512}", f"ghcr.io/a/b:1@{SHA512}"),
        ("registry.k8s.io/e2e-test-images/busybox:1.29-2", "registry.k8s.io/e2e-test-images/busybox:1.29-2"),
    ],
)
def test_names_become_whole(text: str, whole: str) -> None:
    assert str(parse(text)) == whole


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("a" * 64, "is an image's id"),
        ("Busybox", "repository 'library/Busybox'"),
        ("busybox:", "the tag ''"),
        ("busybox:-x", "the tag '-x'"),
        ("busybox:" + "x" * 129, "the tag"),
        ("busybox@sha256:abc", "the digest 'sha256:abc'"),
        ("busybox@md5:" + "a" * 32, "the digest"),
        ("busybox@", "the digest ''"),
        (f"busybox@{SHA256.upper()}", "the digest"),
        ("a//b", "repository"),
        ("a/", "repository"),
        ("/a", "repository"),
        ("..", "repository"),
        ("quay.io/../../x", "repository"),
        ("quay.io/a/b?c=d", "repository"),
        ("a.b:port/x", "no registry's host name"),
        ("-a.b/x", "no registry's host name"),
        ("a.b:70000/x", "no registry's host name"),
        ("a.b:0/x", "no registry's host name"),
        ("[1:2]/x", "no registry's host name"),
        ("a" * 64 + ".b/x", "no registry's host name"),
        ("http://quay.io/a", "no registry's host name"),
        ("user@quay.io/a", "the digest"),
        ("quay.io/" + "a" * 250, "longer than 255"),
        ("a b", "repository"),
        ("a\n", "repository"),
        ("ä", "repository"),
    ],
)
def test_wrong_names_say_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert why in str(caught.value)


def test_a_digest_outweighs_the_tag_beside_it() -> None:
    assert str(parse(f"a/b:1@{SHA256}").pinned) == f"docker.io/a/b@{SHA256}"
    assert str(parse("a/b:1").pinned) == "docker.io/a/b:1"
    assert parse("a/b:1").with_digest(SHA256) == f"docker.io/a/b@{SHA256}"


def test_only_verifiable_digests_are_digests() -> None:
    assert is_digest(SHA256)
    assert is_digest(SHA512)
    assert not is_digest("sha256:" + "a" * 63)
    assert not is_digest("sha384:" + "a" * 96)
    assert not is_digest(f"{SHA256}\n")


hosts = st.from_regex(r"\A[a-z0-9]{1,8}\.[a-z]{2,3}(:[1-9][0-9]{0,3})?\Z") | st.sampled_from(["localhost", "[::1]:80"])
paths = st.from_regex(r"\A[a-z0-9]{1,6}([._-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}){0,2}\Z")
tags = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z")
digests = st.sampled_from(["", SHA256, SHA512])


@given(hosts, paths, tags, digests)
def test_a_whole_name_reads_back_as_itself(host: str, path: str, tag: str, digest: str) -> None:
    reference = Reference(host, path, tag, digest)
    assert parse(str(reference)) == reference


@given(st.text(max_size=80))
def test_any_text_is_a_name_that_reads_back_or_is_refused(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert parse(str(reference)) == reference
