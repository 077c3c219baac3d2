"""Which variant of an image fits this host (OCI image specification, image-index.md, platform)."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from podyard.errors import NotFound
from podyard.images.manifest import ACCEPTED, Descriptor

CHOICES_LIMIT = 10
"""Manifests without a platform that are looked at in one index."""

# What uname(2) says, as Go names it, with the CPU variants that run here, the best first.
_MACHINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "x86_64": ("amd64", ("", "v1")),
    "aarch64": ("arm64", ("v8", "")),
    "armv7l": ("arm", ("v7", "v6", "v5", "")),
    "armv6l": ("arm", ("v6", "v5", "")),
    "i686": ("386", ("",)),
    "ppc64le": ("ppc64le", ("",)),
    "riscv64": ("riscv64", ("",)),
    "s390x": ("s390x", ("",)),
}

# What some who make images write instead; containerd takes it, and upper case.
_OTHER_NAMES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}


@dataclass(frozen=True)
class Host:
    """An architecture, and its variants in order of preference."""

    architecture: str
    variants: tuple[str, ...]

    @classmethod
    def this(cls, variant: str = "") -> Host:
        """This host; ``variant`` goes before those that are known for it."""
        machine = platform.machine()
        architecture, variants = _MACHINES.get(machine, (machine, ("",)))
        return cls(architecture, (variant, *variants) if variant else variants)

    def __str__(self) -> str:
        return f"linux/{self.architecture}"

    def runs(self, os: str, architecture: str) -> bool:
        """Whether an image's configuration fits; what it leaves out does."""
        return os.lower() in {"", "linux"} and _plain(architecture) in {"", self.architecture}

    def choices(self, manifests: Sequence[Descriptor], where: str) -> list[Descriptor]:
        """The manifest of an index that fits best. Where nothing says that it fits: those without a platform, in order.

        Only what these lead to, an index or a configuration, says which platform they are for.

        Raises NotFound, naming the platforms that there are.
        """
        for variant in self.variants:
            for entry in manifests:
                on = entry.platform
                if on and (on.os.lower(), _plain(on.architecture), on.variant) == ("linux", self.architecture, variant):
                    return [entry]
        silent = [entry for entry in manifests if entry.platform is None and entry.media_type in {*ACCEPTED, ""}]
        if silent:
            return silent[:CHOICES_LIMIT]
        found = ", ".join(sorted({str(entry.platform) for entry in manifests if entry.platform})) or "nothing"
        raise NotFound(f"{where} has no image for {self}: it has {found}")


def _plain(architecture: str) -> str:
    name = architecture.lower()
    return _OTHER_NAMES.get(name, name)
