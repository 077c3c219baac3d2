"""Unpacked layers: one directory for each chain id, ready to be a lower directory of an overlay.

The directories' names are numbers: all paths of an image's layers must fit the one page of options that mount(2) takes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from podyard.errors import Internal
from podyard.images.records import ImageRecords, SnapshotRecord
from podyard.images.unpack import unpack_layer
from podyard.linux import process

SYNC_LIMIT = 300.0
"""Seconds for writing an image's layers to the disk."""
REMOVE_LIMIT = 300.0
"""Seconds for removing the trees of an image."""

_UNFINISHED = ".new"
_TRASH = ".old"


class Snapshots:
    """The directory of unpacked layers."""

    def __init__(self, folder: Path, records: ImageRecords) -> None:
        self._folder = folder
        self._records = records
        self._known: dict[str, SnapshotRecord] = {}
        # Whole, but perhaps not on the disk yet: ``sync`` comes before an image's record, which makes layers stay.
        self._unsynced: set[str] = set()
        self._next = 1

    async def start(self) -> None:
        """Read the records; remove records without a directory, half-made directories and those without a record."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._empty.mkdir(mode=0o755, exist_ok=True)
        recorded = self._records.snapshots()
        self._known = {record.chain_id: record for record in recorded if self._path(record).is_dir()}
        self._records.delete((), [record.chain_id for record in recorded if record.chain_id not in self._known])
        self._next = max((record.folder for record in recorded), default=0) + 1
        wanted = {self._empty, *(self._path(record) for record in self._known.values())}
        await _remove([path for path in self._folder.iterdir() if path not in wanted])

    def __contains__(self, chain_id: str) -> bool:
        return chain_id in self._known

    def record(self, chain_id: str) -> SnapshotRecord:
        """Size and inodes of an unpacked layer. Raises KeyError when it is not here."""
        return self._known[chain_id]

    def records(self) -> Collection[SnapshotRecord]:
        """All of them."""
        return self._known.values()

    def lower_dirs(self, chain_ids: Sequence[str]) -> list[Path]:
        """The directories for an overlay, the topmost first; an empty one for an image without layers."""
        return [self._path(self._known[chain_id]) for chain_id in reversed(chain_ids)] or [self._empty]

    async def unpack(self, blob: Path, media_type: str, chain: Sequence[str], diff_id: str) -> None:
        """Unpack the top layer of ``chain``, whose others are here already.

        It is whole, then in the database, or there is nothing of it. Raises what unpack_layer raises.
        """
        number, self._next = self._next, self._next + 1
        target = self._folder / str(number)
        unfinished = self._folder / f"{number}{_UNFINISHED}"
        try:
            unfinished.mkdir(mode=0o755)
            lower = self.lower_dirs(chain[:-1]) if len(chain) > 1 else []
            made = await unpack_layer(blob, media_type, unfinished, diff_id=diff_id, lower=lower)
            unfinished.rename(target)
            record = SnapshotRecord(chain[-1], number, made.size, made.inodes)
            self._records.save_snapshot(record)
        except BaseException:
            await _remove([unfinished, target])
            raise
        self._known[chain[-1]] = record
        self._unsynced.add(chain[-1])

    async def sync(self, chain_ids: Collection[str]) -> None:
        """See to it that layers are on the disk. Raises Internal, DeadlineExceeded when the disk does not take them."""
        pending = frozenset(self._unsynced)
        if pending.isdisjoint(chain_ids):
            return
        result = await process.run(["sync", "--file-system", str(self._folder)], limit=SYNC_LIMIT)
        if result.code != 0:
            raise Internal(f"cannot write {self._folder} to the disk: {result.stderr.decode(errors='replace').strip()}")
        self._unsynced -= pending

    def forget(self, chain_ids: Collection[str]) -> list[Path]:
        """Put layers that the database has forgotten out of the way; gives the trees, for ``remove``."""
        trash = []
        self._unsynced -= set(chain_ids)
        for chain_id in chain_ids:
            path = self._path(self._known.pop(chain_id))
            trash.append(path.rename(path.with_suffix(_TRASH)))
        return trash

    async def remove(self, trees: Sequence[Path]) -> None:
        """Remove what ``forget`` gave."""
        await _remove(trees)

    @property
    def _empty(self) -> Path:
        return self._folder / "0"

    def _path(self, record: SnapshotRecord) -> Path:
        return self._folder / str(record.folder)


async def _remove(trees: Sequence[Path]) -> None:
    # rm(1): shutil.rmtree would hold the interpreter for much of the time that a large layer takes.
    if not trees:
        return
    command = ["rm", "-rf", "--one-file-system", "--", *map(str, trees)]
    result = await process.run(command, limit=REMOVE_LIMIT)
    if result.code != 0:
        raise Internal(f"cannot remove layers: {result.stderr.decode(errors='replace').strip()}")
