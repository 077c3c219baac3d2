"""The options of ``podyard node`` that say when it clears up and when it evicts Pods: a kubelet's flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from podyard.errors import InvalidArgument

if TYPE_CHECKING:
    from podyard.node.housekeeping import Settings
    from podyard.node.shutdown import Grace

_Command = TypeVar("_Command", bound=Callable[..., Any])
_HARD = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
_PER_CENT = click.IntRange(0, 100)

_OPTIONS = (
    click.option(
        "--eviction-hard",
        default=_HARD,
        show_default=True,
        metavar="SIGNAL<AMOUNT,...",
        help='Evict a Pod at once when less is left; "" for never. Signals: memory.available, nodefs.available, '
        "nodefs.inodesFree, imagefs.available, imagefs.inodesFree, pid.available.",
    ),
    click.option(
        "--eviction-soft", default="", metavar="SIGNAL<AMOUNT,...", help="Evict a Pod when that lasts for a time."
    ),
    click.option(
        "--eviction-soft-grace-period", default="", metavar="SIGNAL=DURATION,...", help="Those times, such as 1m30s."
    ),
    click.option(
        "--eviction-max-pod-grace-period",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        metavar="SECONDS",
        help="What a Pod gets at most to end by itself that a soft threshold evicts.",
    ),
    click.option(
        "--eviction-minimum-reclaim",
        default="",
        metavar="SIGNAL=AMOUNT,...",
        help="How much more than a threshold has to be left before it is enough again.",
    ),
    click.option(
        "--eviction-pressure-transition-period",
        default="5m0s",
        show_default=True,
        metavar="DURATION",
        help="How long the node says that something is short after it was so last.",
    ),
    click.option(
        "--housekeeping-interval",
        default="10s",
        show_default=True,
        metavar="DURATION",
        help="Between two looks at that.",
    ),
    click.option(
        "--image-gc-high-threshold",
        type=_PER_CENT,
        default=85,
        show_default=True,
        help="Remove unused images when their disk is so full, in per cent; 100 for never.",
    ),
    click.option(
        "--image-gc-low-threshold", type=_PER_CENT, default=80, show_default=True, help="Until it is so full."
    ),
    click.option(
        "--minimum-image-ttl-duration",
        default="2m0s",
        show_default=True,
        metavar="DURATION",
        help="How long an image stays at least.",
    ),
    click.option(
        "--image-maximum-gc-age",
        default="0",
        show_default=True,
        metavar="DURATION",
        help="Remove images that nobody has used for so long; 0 for never.",
    ),
    click.option(
        "--pod-infra-container-image",
        default="",
        metavar="IMAGE",
        help="An image that is never removed: the one that the runtime makes sandboxes of.",
    ),
    click.option(
        "--container-log-max-size",
        default="10Mi",
        show_default=True,
        metavar="AMOUNT",
        help="Begin a new file when a container's log is longer; -1 for never.",
    ),
    click.option(
        "--container-log-max-files",
        type=click.IntRange(2),
        default=5,
        show_default=True,
        metavar="N",
        help="How many files of a log are kept; all but two are compressed.",
    ),
    click.option(
        "--shutdown-grace-period",
        default="0",
        show_default=True,
        metavar="DURATION",
        help="Let a shutdown of the machine wait for so long until the Pods have ended; takes systemd-logind. 0: not.",
    ),
    click.option(
        "--shutdown-grace-period-critical-pods",
        default="0",
        show_default=True,
        metavar="DURATION",
        help="The part of that for critical Pods, which end last.",
    ),
)


def options(command: _Command) -> _Command:
    """Give a command these options; it hands their values to ``settings``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def shutdown(given: dict[str, Any]) -> Grace | None:
    """What the options say of the machine's shutdown; None where it does not wait. Raises InvalidArgument."""
    from podyard.node.housekeeping.thresholds import parse_duration
    from podyard.node.shutdown import Grace

    flag = "--shutdown-grace-period"
    whole = parse_duration(flag, given["shutdown_grace_period"])
    critical = parse_duration(f"{flag}-critical-pods", given["shutdown_grace_period_critical_pods"])
    if critical > whole:
        raise InvalidArgument(f"{flag}-critical-pods: it is a part of {flag}, so no more than that")
    if 0 < whole < 1:
        raise InvalidArgument(f"{flag}: at least 1s, or 0")
    return Grace(whole=whole, critical=critical) if whole else None


def _bytes(flag: str, text: str) -> int:
    """0 for less than nothing, by which a kubelet means "never"."""
    from podyard.manifest.quantity import Quantity

    try:
        amount = Quantity.parse(text)
    except ValueError as error:
        raise InvalidArgument(f"{flag}: {error}") from error
    if not amount.amount:
        raise InvalidArgument(f"{flag}: must be more than 0, or -1 for never")
    return max(0, amount.value)


def settings(given: dict[str, Any]) -> Settings:
    """What the options say. Raises InvalidArgument."""
    from podyard.node.housekeeping import Settings
    from podyard.node.housekeeping.thresholds import parse_duration, parse_hard, parse_soft

    def seconds(name: str) -> float:
        return parse_duration(f"--{name.replace('_', '-')}", given[name])

    interval = seconds("housekeeping_interval")
    if interval < 1:
        raise InvalidArgument("--housekeeping-interval: at least 1s")
    reclaim = given["eviction_minimum_reclaim"]
    soft = parse_soft(given["eviction_soft"], given["eviction_soft_grace_period"], reclaim)
    return Settings(
        thresholds=[*parse_hard(given["eviction_hard"], reclaim), *soft],
        transition=seconds("eviction_pressure_transition_period"),
        longest_grace=given["eviction_max_pod_grace_period"],
        interval=interval,
        image_high=given["image_gc_high_threshold"],
        image_low=given["image_gc_low_threshold"],
        image_least_age=seconds("minimum_image_ttl_duration"),
        image_longest_age=seconds("image_maximum_gc_age"),
        log_size=_bytes("--container-log-max-size", given["container_log_max_size"]),
        log_files=given["container_log_max_files"],
        sandbox_image=given["pod_infra_container_image"],
    )
