"""TokenReview and SubjectAccessReview: what an authenticator and an authorizer answer. They are asked, and not kept."""

from __future__ import annotations

from typing import Any

from tests.support.kube.selection import KINDS
from tests.support.kube.store import JsonObject, Refused

REVIEWS = ("tokenreviews", "subjectaccessreviews")


class Reviews:
    """``users``: who has which token, as a review's status tells them. ``rules``: who may do what with which
    subresource of nodes, "*" for all. ``asked``: the specs of the reviews, in their order."""

    def __init__(self) -> None:
        self.users: dict[str, JsonObject] = {}
        self.rules: set[tuple[str, str, str]] = set()
        self.asked: list[JsonObject] = []

    def answer(self, resource: str, body: JsonObject) -> JsonObject:
        """The review with its status. Raises Refused."""
        version, kind = KINDS[resource]
        if (body.get("apiVersion"), body.get("kind")) != (version, kind):
            raise Refused(400, "BadRequest", f"the object provided is not a {kind} of {version}")
        spec = body["spec"]
        self.asked.append(spec)
        return {**body, "status": self._token(spec) if resource == "tokenreviews" else self._access(spec)}

    def _token(self, spec: JsonObject) -> JsonObject:
        user = self.users.get(spec["token"])
        return {"user": {}, "error": "invalid bearer token"} if user is None else {"authenticated": True, "user": user}

    def _access(self, spec: JsonObject) -> JsonObject:
        attributes: dict[str, Any] = spec["resourceAttributes"]
        if attributes["resource"] != "nodes":
            return {"allowed": False}
        verb, subresource = attributes["verb"], attributes["subresource"]
        for who in (spec["user"], *spec.get("groups", ())):
            for rule in ((who, verb, subresource), (who, "*", subresource), (who, "*", "*")):
                if rule in self.rules:
                    return {"allowed": True, "reason": f"by the rule {rule}"}
        return {"allowed": False}
