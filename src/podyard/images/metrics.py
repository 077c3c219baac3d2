"""What pulls do and have done, and what is here, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from podyard.model.metric import Metric

if TYPE_CHECKING:
    from podyard.images.store import ImageStore


def metrics(store: ImageStore) -> Iterator[Metric]:
    """All of them, those of one name one after the other."""
    counts, pulls, used = store.counts, store.pulls(), store.usage()
    text = "Pulls of images that have ended, by result: OK, or the gRPC status of the error."
    for result, count in sorted(counts.pulls.items()):
        yield Metric("podyard_image_pulls_total", "counter", text, count, (("result", result),))
    text = "Seconds that the pulls of images that have ended took."
    yield Metric("podyard_image_pull_seconds_total", "counter", text, counts.seconds)
    text = "Bytes of compressed layers that were fetched."
    yield Metric("podyard_image_fetched_bytes_total", "counter", text, counts.fetched)
    text = "Layers that were unpacked."
    yield Metric("podyard_image_layers_unpacked_total", "counter", text, counts.unpacked)
    yield Metric("podyard_image_pulls", "gauge", "Pulls of images in flight.", len(pulls))
    # Pulls of one name with several credentials are one here.
    parts: dict[tuple[str, str], int] = {}
    for progress in pulls:
        done, total = progress.bytes()
        parts[progress.reference, "fetched"] = done
        parts[progress.reference, "all"] = total
    text = "Bytes of compressed layers of a pull in flight: what is fetched, and all that it has to fetch."
    for (reference, part), count in parts.items():
        yield Metric("podyard_image_pull_bytes", "gauge", text, count, (("image", reference), ("part", part)))
    yield Metric("podyard_images", "gauge", "Images.", len(store.images()))
    yield Metric("podyard_image_layers", "gauge", "Unpacked layers.", len(store.layers()))
    yield Metric("podyard_image_store_bytes", "gauge", "Bytes of all layers and documents.", used.size)
    yield Metric("podyard_image_store_inodes", "gauge", "Inodes of all layers and documents.", used.inodes)
