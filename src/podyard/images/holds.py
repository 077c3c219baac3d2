"""What is being brought here, and no record names yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Set
from contextlib import contextmanager


class Holds:
    """Digests of documents and chain ids of layers that must stay while somebody works with them."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @contextmanager
    def on(self, digests: Collection[str]) -> Iterator[None]:
        """Hold some while the block lasts."""
        self._held.update(digests)
        try:
            yield
        finally:
            self._held.subtract(digests)
            self._held = +self._held

    def all(self) -> Set[str]:
        """All that are held."""
        return self._held.keys()
