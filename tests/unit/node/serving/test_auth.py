"""Who is let in to the node's own API, and what they may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.kube import ApiServer, serving

from podyard.errors import PermissionDenied, Unavailable
from podyard.node.kube import Access, KubeClient
from podyard.node.serving.auth import (
    ALLOWED_FOR,
    DENIED_FOR,
    KNOWN_FOR,
    UNKNOWN_FOR,
    Forbidden,
    Gate,
    Unauthenticated,
    attributes,
    user_of,
)

CERTIFICATE = {"subject": ((("organizationName", "ops"),), (("organizationName", "dev"),), (("commonName", "ann"),))}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with serving(ApiServer()) as server:
        server.reviews.users["t"] = {"username": "bob", "uid": "7", "groups": ["g"], "extra": {"scope": ["a", "b"]}}
        yield server


@pytest.fixture
async def kube(server: ApiServer) -> AsyncIterator[KubeClient]:
    async with KubeClient(Access(server=server.url), timeout=10) as client:
        yield client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(kube: KubeClient, clock: Clock) -> Gate:
    return Gate(kube, "n", clock=clock)


async def admit(gate: Gate, path: str = "/pods", method: str = "GET", token: str = "t") -> str:
    user = await gate.admit(method, path, certificate={}, authorization=f"Bearer {token}" if token else "")
    return user.username


@pytest.mark.parametrize(
    ("method", "path", "verb", "subresources"),
    [
        ("GET", "/pods", "get", ["pods", "proxy"]),
        ("GET", "/runningpods/", "get", ["pods", "proxy"]),
        ("GET", "/healthz", "get", ["healthz", "proxy"]),
        ("GET", "/containerLogs/a/b/c", "get", ["proxy"]),
        ("POST", "/exec/a/b/c", "create", ["proxy"]),
        ("GET", "/exec/a/b/c", "get", ["proxy"]),
        ("GET", "/stats/summary", "get", ["stats"]),
        ("GET", "/metrics", "get", ["metrics"]),
        ("HEAD", "/metrics/resource", "get", ["metrics"]),
        ("GET", "/logs/", "get", ["log"]),
        ("PUT", "/", "update", ["proxy"]),
        ("DELETE", "/metricsx", "delete", ["proxy"]),
        ("PROPFIND", "//metrics", "propfind", ["metrics"]),
    ],
)
def test_what_a_request_is_for_an_authorizer(method: str, path: str, verb: str, subresources: list[str]) -> None:
    assert attributes(method, path) == (verb, subresources)


def test_a_certificates_subject_says_who_somebody_is() -> None:
    user = user_of(CERTIFICATE)
    assert user is not None
    assert (user.username, user.groups) == ("ann", ("ops", "dev", "system:authenticated"))
    assert user_of({}) is None
    assert user_of({"subject": ((("organizationName", "ops"),),)}) is None


async def test_the_api_server_says_whose_a_token_is_and_what_they_may(gate: Gate, server: ApiServer) -> None:
    server.reviews.rules.add(("bob", "get", "proxy"))
    assert await admit(gate) == "bob"
    token, *access = server.reviews.asked
    assert token == {"token": "t"}
    user = {"user": "bob", "uid": "7", "groups": ["g", "system:authenticated"], "extra": {"scope": ["a", "b"]}}
    assert access == [
        {
            **user,
            "resourceAttributes": {
                "verb": "get",
                "version": "v1",
                "resource": "nodes",
                "subresource": subresource,
                "name": "n",
            },
        }
        for subresource in ("pods", "proxy")
    ]
    with pytest.raises(Forbidden, match=r"user=bob, verb=create, resource=nodes, subresource=proxy\)"):
        await admit(gate, method="POST")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic t", "t", "Bearer u"])
async def test_nobody_is_let_in_whom_nobody_knows(gate: Gate, authorization: str) -> None:
    with pytest.raises(Unauthenticated):
        await gate.admit("GET", "/pods", certificate=None, authorization=authorization)


async def test_answers_count_for_a_time(gate: Gate, server: ApiServer, clock: Clock) -> None:
    def asked() -> tuple[int, int]:
        return server.requests["POST tokenreviews"], server.requests["POST subjectaccessreviews"]

    server.reviews.rules.add(("bob", "*", "metrics"))
    for _ in range(2):
        assert await admit(gate, "/metrics") == "bob"
    assert asked() == (1, 1)
    for _ in range(2):
        with pytest.raises(Forbidden):
            await admit(gate, "/stats/summary")
        with pytest.raises(Unauthenticated):
            await admit(gate, token="later")
    assert asked() == (2, 2)

    # A refusal is forgotten soon, what was allowed later.
    server.reviews.users["later"] = {"username": "eve"}
    server.reviews.rules |= {("eve", "*", "*"), ("bob", "*", "stats")}
    clock.now += UNKNOWN_FOR
    assert await admit(gate, token="later") == "eve"
    clock.now += DENIED_FOR
    assert await admit(gate, "/stats/summary") == "bob"
    server.reviews.rules.clear()
    del server.reviews.users["t"]
    assert await admit(gate, "/metrics") == "bob"
    clock.now += KNOWN_FOR
    with pytest.raises(Unauthenticated):
        await admit(gate, "/metrics")
    server.reviews.users["t2"] = {"username": "bob"}
    clock.now += ALLOWED_FOR
    with pytest.raises(Forbidden):
        await admit(gate, "/metrics", token="t2")


async def test_an_api_server_that_cannot_be_asked_lets_nobody_in(gate: Gate, server: ApiServer) -> None:
    server.refuse("POST tokenreviews", 403, "Forbidden")
    with pytest.raises(Unauthenticated, match=r"^Unauthorized$"):
        await admit(gate)
    server.refuse("POST subjectaccessreviews", 500, "InternalError")
    with pytest.raises(Unavailable, match="injected InternalError"):
        await admit(gate, "/metrics")
    server.reviews.rules.add(("bob", "*", "*"))
    assert await admit(gate, "/metrics") == "bob"


async def test_without_an_api_server_certificates_alone_count() -> None:
    gate = Gate(None, "n")
    user = await gate.admit("POST", "/exec/a/b/c", certificate=CERTIFICATE, authorization="")
    assert user.username == "ann"
    with pytest.raises(PermissionDenied):
        await gate.admit("GET", "/pods", certificate={}, authorization="Bearer t")


async def test_what_is_no_review_lets_nobody_in(gate: Gate, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [{"status": {"authenticated": "yes"}}, {"status": []}, {"status": {"authenticated": True}}, {}]
    for answer in answers:
        monkeypatch.setattr(server.reviews, "answer", lambda *_, answer=answer: answer)
        with pytest.raises(Unauthenticated):
            await admit(gate, token=f"t{answers.index(answer)}")
