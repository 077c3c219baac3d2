"""When the node clears up, and when it ends Pods for want of room: a kubelet's settings, by its flags' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from podyard.errors import InvalidArgument
from podyard.node.housekeeping.state import TRANSITION
from podyard.node.housekeeping.thresholds import HARD, Threshold, parse_hard


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Times: seconds. Raises InvalidArgument for percentages that cannot be."""

    thresholds: Sequence[Threshold] = field(default_factory=lambda: parse_hard(HARD))
    transition: float = TRANSITION
    """--eviction-pressure-transition-period."""
    longest_grace: int = 0
    """--eviction-max-pod-grace-period: what a Pod is given at most that a soft threshold ends."""
    interval: float = 10.0
    """--housekeeping-interval: between two looks at what is left."""
    image_high: int = 85
    """--image-gc-high-threshold: per cent of the images' file system from which on unused ones go; 100: never."""
    image_low: int = 80
    """--image-gc-low-threshold: per cent down to which they are."""
    image_least_age: float = 120.0
    """--minimum-image-ttl-duration: how long an image is kept that nobody has used yet."""
    image_longest_age: float = 0.0
    """--image-maximum-gc-age: after which an unused image is removed, however much room there is; 0 for never."""
    sandbox_image: str = ""
    """--pod-infra-container-image: an image that stays, since a runtime makes sandboxes of it and does not say so."""
    log_size: int = 10 << 20
    """--container-log-max-size: bytes of a container's log after which a new file is begun; 0: never."""
    log_files: int = 5
    """--container-log-max-files: how many files there are of one container's log."""

    def __post_init__(self) -> None:
        if not 0 <= self.image_low < self.image_high <= 100:
            raise InvalidArgument(
                f"--image-gc-low-threshold {self.image_low} and --image-gc-high-threshold {self.image_high}: per cent, "
                "the low one below the high one"
            )
        if self.log_files < 2:
            raise InvalidArgument(
                "--container-log-max-files: at least 2, the one that is written and the one before it"
            )
        if self.image_longest_age and self.image_longest_age <= self.image_least_age:
            raise InvalidArgument("--image-maximum-gc-age must be more than --minimum-image-ttl-duration, or 0")
