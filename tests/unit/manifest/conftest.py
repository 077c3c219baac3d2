"""Pods made from a few lines of YAML."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent, indent

import pytest

from podyard.manifest import parse
from podyard.manifest.model import Pod

MakePod = Callable[..., Pod]


@pytest.fixture
def make_pod() -> MakePod:
    """``make_pod(spec, container, metadata)``: a Pod called web with a container called main, and these lines more."""

    def make(spec: str = "", container: str = "", metadata: str = "uid: u-1") -> Pod:
        text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n"
        text += indent(dedent(metadata), "  ") + "\nspec:\n"
        text += indent(dedent(spec), "  ") + "\n  containers:\n  - name: main\n    image: busybox:1\n"
        text += indent(dedent(container), "    ") + "\n"
        (pod,) = parse(text.encode(), "web.yaml").pods
        return pod

    return make
