"""A Pod that may be active for a limited time (Kubernetes documentation, "Pod Lifecycle": activeDeadlineSeconds)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from podyard.pods.launch import Launcher
from podyard.pods.patience import in_thread
from podyard.pods.steps import Steps
from podyard.pods.verdict import Verdict, write_verdict

EXCEEDED = Verdict("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
"""In a kubelet's words."""


async def until_deadline(launcher: Launcher, steps: Steps, work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work`` on a Pod that has its sandbox. At the Pod's deadline it is given up and the Pod is ended for good:
    its containers still run then.

    The time counts from the making of the sandbox, across restarts of whoever looks after the Pod. Raises what ``work``
    raises.
    """
    limit = launcher.pod.spec.active_deadline_seconds
    if limit is None:
        await work()
        return
    left = launcher.created_at + limit - time.time()
    if left > 0:
        try:
            async with asyncio.timeout(left) as active:
                await work()
        except TimeoutError:
            if not active.expired():
                raise
        else:
            return
    steps.tell("ending", launcher.pod.full_name, detail=EXCEEDED.message)
    await in_thread(write_verdict, launcher.folder, EXCEEDED)
