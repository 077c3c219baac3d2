"""The options of podyard node that say when it clears up: what they become."""

from __future__ import annotations

from typing import Any

import click
import pytest

from podyard.cli import housekeeping
from podyard.errors import InvalidArgument
from podyard.node.housekeeping import Settings
from podyard.node.housekeeping.thresholds import parse_hard, parse_soft
from podyard.node.shutdown import Grace


def settings(*arguments: str) -> Settings:
    """What the options make of a command line."""

    @click.command()
    @housekeeping.options
    def command(**given: Any) -> Settings:
        return housekeeping.settings(given)

    found = command.main(list(arguments), standalone_mode=False)
    assert isinstance(found, Settings)
    return found


def test_without_any_a_kubelets_defaults_hold() -> None:
    assert settings() == Settings()


def test_all_of_them() -> None:
    found = settings(
        *("--eviction-hard", "memory.available<1Gi", "--eviction-minimum-reclaim", "memory.available=1Mi"),
        *("--eviction-soft", "memory.available<2Gi", "--eviction-soft-grace-period", "memory.available=1m"),
        *("--eviction-max-pod-grace-period", "7", "--eviction-pressure-transition-period", "30s"),
        *("--housekeeping-interval", "5s", "--image-gc-high-threshold", "50", "--image-gc-low-threshold", "40"),
        *("--minimum-image-ttl-duration", "1m", "--image-maximum-gc-age", "1h", "--pod-infra-container-image", "p:1"),
        *("--container-log-max-size", "1Mi", "--container-log-max-files", "2"),
    )
    assert found == Settings(
        thresholds=[
            *parse_hard("memory.available<1Gi", "memory.available=1Mi"),
            *parse_soft("memory.available<2Gi", "memory.available=1m", "memory.available=1Mi"),
        ],
        longest_grace=7,
        transition=30.0,
        interval=5.0,
        image_high=50,
        image_low=40,
        image_least_age=60.0,
        image_longest_age=3600.0,
        sandbox_image="p:1",
        log_size=1 << 20,
        log_files=2,
    )


def test_what_is_switched_off() -> None:
    assert settings("--eviction-hard", "").thresholds == []
    assert settings("--container-log-max-size", "-1").log_size == 0


def test_what_cannot_be() -> None:
    with pytest.raises(InvalidArgument, match="at least 1s"):
        settings("--housekeeping-interval", "10ms")
    with pytest.raises(InvalidArgument, match="must be more than 0, or -1 for never"):
        settings("--container-log-max-size", "0")
    with pytest.raises(InvalidArgument, match="--image-maximum-gc-age: 'x' is not a duration"):
        settings("--image-maximum-gc-age", "x")


def shutdown(*arguments: str) -> Grace | None:
    @click.command()
    @housekeeping.options
    def command(**given: Any) -> Grace | None:
        return housekeeping.shutdown(given)

    found = command.main(list(arguments), standalone_mode=False)
    assert found is None or isinstance(found, Grace)
    return found


def test_how_long_a_shutdown_waits() -> None:
    critical = ("--shutdown-grace-period-critical-pods", "10s")
    assert shutdown() is None
    assert shutdown("--shutdown-grace-period", "1m", *critical) == Grace(whole=60.0, critical=10.0)
    with pytest.raises(InvalidArgument, match="a part of --shutdown-grace-period"):
        shutdown(*critical)
    with pytest.raises(InvalidArgument, match="at least 1s, or 0"):
        shutdown("--shutdown-grace-period", "10ms")
