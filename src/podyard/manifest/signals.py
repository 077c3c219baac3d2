"""Signals as manifests name them: "SIGUSR1", "SIGRTMIN+3"."""

from __future__ import annotations

from podyard.cri import api

SIGNALS = {
    name.removeprefix("SIGNAL_").replace("PLUS", "+").replace("MINUS", "-"): number
    for name, number in api.Signal.items()
    if number != api.SIGNAL_RUNTIME_DEFAULT
}
"""The protocol's value for each name."""
