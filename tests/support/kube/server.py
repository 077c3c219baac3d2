"""The server: REST, watches and faults."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from tests.support.kube import pods
from tests.support.kube.patches import merge, strategic_merge
from tests.support.kube.reviews import REVIEWS, Reviews
from tests.support.kube.selection import KINDS, parse, seen_as, selected
from tests.support.kube.store import JsonObject, Key, Refused, Store

CLUSTER_WIDE = {"namespaces", "nodes", "runtimeclasses"}
WITH_STATUS = {"namespaces", "nodes", "pods"}
PATCHES = {"application/merge-patch+json": merge, "application/strategic-merge-patch+json": strategic_merge}


class ApiServer:
    """Serves a ``Store``. Tests read and change it directly, with the methods below, as other clients would.

    ``requests`` counts by "METHOD resource", ``bodies`` keeps what was sent. ``token``: the bearer token that is asked
    for, "" for none. ``bookmarks``: seconds between two bookmarks of a watch.
    """

    def __init__(self, *, token: str = "") -> None:
        self.store = Store()
        self.url = ""
        self.token = token
        self.bookmarks = 0.2
        self.requests: Counter[str] = Counter()
        self.faults: list[tuple[str, Refused, Mapping[str, str]]] = []
        self.reviews = Reviews()
        self.tokens_asked: list[JsonObject] = []
        self._watches: set[asyncio.Task[Any]] = set()
        self._lists: dict[str, list[JsonObject]] = {}
        for name in ("default", "kube-system", "kube-node-lease"):
            self.add("namespaces", name)

    # What a test does as another client.

    def add(self, resource: str, name: str, namespace: str = "", **fields: Any) -> JsonObject:
        """Create an object; ``fields``: metadata beside the name, spec and so on."""
        version, kind = KINDS[resource]
        metadata = {"name": name, **fields.pop("metadata", {})}
        found: JsonObject = {"apiVersion": version, "kind": kind, **fields, "metadata": metadata}
        return self._create((resource, namespace, name), found)

    def get(self, resource: str, name: str, namespace: str = "") -> JsonObject:
        """An object. Raises Refused."""
        return self.store.get((resource, namespace, name))

    def has(self, resource: str, name: str, namespace: str = "") -> bool:
        """Whether there is such an object."""
        return (resource, namespace, name) in self.store.objects

    def edit(self, resource: str, name: str, namespace: str = "", **fields: Any) -> JsonObject:
        """Merge fields into an object."""
        return self.store.change((resource, namespace, name), lambda found: dict(merge(found, fields)))

    def delete(self, resource: str, name: str, namespace: str = "", grace: int | None = None) -> None:
        """Delete an object; a Pod gets ``grace`` seconds."""
        self._delete((resource, namespace, name), grace)

    def refuse(
        self, request: str, code: int, reason: str, *, times: int = 1, headers: Mapping[str, str] | None = None
    ) -> None:
        """Refuse the next requests ("PATCH pods", "WATCH pods", "LIST pods")."""
        self.faults += [(request, Refused(code, reason, f"injected {reason}"), headers or {})] * times

    def cut(self) -> None:
        """Cut all watches."""
        for task in list(self._watches):
            task.cancel()

    # What requests are answered with.

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._handle(request)
        except Refused as refused:
            return web.json_response(refused.status, status=refused.code)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized", "Unauthorized")
        key, below = parse(request.path)
        resource, namespace, name = key
        listing = request.method == "GET" and not name
        watching = listing and request.query.get("watch") in ("1", "true")
        verb = "WATCH" if watching else "LIST" if listing else request.method
        asked = f"{verb} {resource}" + (f"/{below}" if below else "")
        self.requests[asked] += 1
        for fault in self.faults:
            if fault[0] == asked:
                self.faults.remove(fault)
                return web.json_response(fault[1].status, status=fault[1].code, headers=fault[2])
        if watching:
            return await self._watch(request, resource, namespace)
        if listing:
            return web.json_response(self._list(request, resource, namespace))
        if request.method == "GET":
            return web.json_response(self.store.get(key))
        body = await request.json() if request.can_read_body else {}
        if request.method == "DELETE":
            self._check_preconditions(key, body.get("preconditions") or {})
            return web.json_response(self._delete(key, body.get("gracePeriodSeconds")))
        answer = {
            "POST": lambda: self._post(key, below, body),
            "PUT": lambda: self._put(key, below, body),
            "PATCH": lambda: self._patch(key, below, body, request.content_type),
        }[request.method]()
        return web.json_response(answer, status=201 if request.method == "POST" else 200)

    def _post(self, key: Key, below: str, body: JsonObject) -> JsonObject:
        resource, namespace, name = key
        if (resource, below) == ("serviceaccounts", "token"):
            return self._token(key, body)
        if resource in REVIEWS:
            return self.reviews.answer(resource, body)
        if name:
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        named = body.get("metadata", {}).get("name")
        if not named or body.get("kind") != KINDS[resource][1] or body.get("apiVersion") != KINDS[resource][0]:
            raise Refused(422, "Invalid", f"{KINDS[resource][1]} is invalid: kind, apiVersion or metadata.name")
        return self._create((resource, namespace, named), body)

    def _create(self, key: Key, body: JsonObject) -> JsonObject:
        resource, namespace, _ = key
        if resource not in CLUSTER_WIDE and not self.has("namespaces", namespace):
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
        return self.store.create(key, pods.with_defaults(body) if resource == "pods" else body)

    def _put(self, key: Key, below: str, body: JsonObject) -> JsonObject:
        if key[0] == "leases" and not body["metadata"].get("resourceVersion"):
            raise Refused(
                422, "Invalid", "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
            )
        return self.store.change(key, lambda before: self._scoped(key, below, before, body))

    def _patch(self, key: Key, below: str, body: JsonObject, kind: str) -> JsonObject:
        if kind not in PATCHES:
            raise Refused(415, "UnsupportedMediaType", f"the body of the request was in an unknown format {kind}")

        def change(before: JsonObject) -> JsonObject:
            return self._scoped(key, below, before, PATCHES[kind](before, body))

        return self.store.change(key, change)

    def _scoped(self, key: Key, below: str, before: JsonObject, after: JsonObject) -> JsonObject:
        """Of a change only what its path is for: the status below "status", all else without."""
        if key[0] not in WITH_STATUS:
            return dict(after)
        if below == "status":
            marks = {field: after["metadata"].get(field) for field in ("uid", "resourceVersion")}
            return {**before, "status": after.get("status", {}), "metadata": {**before["metadata"], **marks}}
        return {**after, "status": before["status"]} if "status" in before else dict(after)

    def _delete(self, key: Key, grace: int | None) -> JsonObject:
        return pods.delete(self.store, key, grace) if key[0] == "pods" else self.store.remove(key)

    def _check_preconditions(self, key: Key, wanted: Mapping[str, str]) -> None:
        metadata = self.store.get(key)["metadata"]
        for field, value in wanted.items():
            if metadata[field] != value:
                raise Refused(409, "Conflict", f"Precondition failed: {field} is {metadata[field]}, not {value}")

    def _token(self, key: Key, body: JsonObject) -> JsonObject:
        self.store.get(key)
        bound = body["spec"].get("boundObjectRef", {})
        if bound:
            pod = self.get("pods", bound["name"], key[1])
            if pod["metadata"]["uid"] != bound["uid"]:
                raise Refused(409, "Conflict", "the UID in the bound object reference does not match the Pod's")
        self.tokens_asked.append(body)
        seconds = body["spec"]["expirationSeconds"]
        claims = base64.urlsafe_b64encode(json.dumps({"aud": body["spec"]["audiences"]}).encode()).decode()
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {**body, "status": {"token": f"header.{claims}.{uuid.uuid4().hex}", "expirationTimestamp": until}}

    def _list(self, request: web.Request, resource: str, namespace: str) -> JsonObject:
        """A list in parts: all of them show the state that the first one had."""
        token = request.query.get("continue", "")
        if token:
            version, _, known = token.partition("-")
            if int(version) < self.store.oldest or known not in self._lists:
                raise Refused(410, "Expired", "The provided continue parameter is too old")
            items = self._lists.pop(known)
        else:
            version = str(self.store.version)
            found = sorted(self.store.objects.items())
            items = [one for key, one in found if selected(key, one, resource, namespace, request.query)]
        limit = int(request.query.get("limit", "0")) or len(items)
        metadata: JsonObject = {"resourceVersion": version}
        if items[limit:]:
            known = uuid.uuid4().hex
            self._lists[known] = items[limit:]
            metadata |= {"continue": f"{version}-{known}", "remainingItemCount": len(items[limit:])}
        api_version, kind = KINDS[resource]
        return {"apiVersion": api_version, "kind": f"{kind}List", "metadata": metadata, "items": items[:limit]}

    async def _watch(self, request: web.Request, resource: str, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            with suppress(TimeoutError, ConnectionResetError):
                async with asyncio.timeout(float(request.query.get("timeoutSeconds", "60"))):
                    await self._send_changes(request, response, resource, namespace)
        except asyncio.CancelledError:
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            self._watches.discard(task)
        return response

    async def _send_changes(
        self, request: web.Request, response: web.StreamResponse, resource: str, namespace: str
    ) -> None:
        version = int(request.query["resourceVersion"])
        while True:
            changed = self.store.changed
            try:
                changes = self.store.since(version)
            except Refused as refused:
                await response.write(_line("ERROR", refused.status))
                return
            for change in changes:
                version = change.version
                if (kind := seen_as(change, resource, namespace, request.query)) is not None:
                    await response.write(_line(kind, change.found))
            try:
                async with asyncio.timeout(self.bookmarks):
                    await changed.wait()
            except TimeoutError:
                if request.query.get("allowWatchBookmarks") == "true":
                    api_version, name = KINDS[resource]
                    mark = {"apiVersion": api_version, "kind": name, "metadata": {"resourceVersion": str(version)}}
                    await response.write(_line("BOOKMARK", mark))


@asynccontextmanager
async def serving(server: ApiServer, *, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[ApiServer]:
    """Serve on loopback while the block lasts; ``url`` says where."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls, reuse_address=True)
        await site.start()
        address = runner.addresses[0]
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{address[1]}"
        yield server
    finally:
        server.cut()
        await runner.cleanup()


def _line(kind: str, found: JsonObject) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"
