from __future__ import annotations

import math
from typing import Any

import pytest

from podyard.client.kubelet import time_limit
from podyard.cri import admin, api


@pytest.mark.parametrize(
    ("request_", "seconds"),
    [
        (api.VersionRequest(), 120),
        (api.CreateContainerRequest(), 120),
        (api.RemovePodSandboxRequest(), 120),
        (api.RunPodSandboxRequest(), 240),
        (api.StopContainerRequest(timeout=30), 150),
        (api.StopContainerRequest(), 120),
        (api.StopContainerRequest(timeout=-5), 120),
        (api.ExecSyncRequest(timeout=10), 130),
        (api.ExecSyncRequest(), math.inf),
        (api.PullImageRequest(), math.inf),
        (admin.LoadImagesRequest(), math.inf),
        (admin.ListPullsRequest(), 120),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int | float) else str(value),
)
def test_calls_are_waited_for_as_long_as_a_kubelet_waits(request_: Any, seconds: float) -> None:
    assert time_limit(request_) == seconds
