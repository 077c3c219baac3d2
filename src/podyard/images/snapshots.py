"""Unpacked layers: one directory for each chain id, ready to be a lower directory of an overlay.

The directories' names are numbers: all paths of an image's layers must fit the one page of options that mount(2) takes.
A layer's record, by which it can be checked and packed again, is a file of the same number in another directory.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec.structs import replace

from podyard.errors import DataLoss, FailedPrecondition, Internal, PodyardError
from podyard.images.content import UNREADABLE
from podyard.images.making import Makings
from podyard.images.records import ImageRecords, SnapshotRecord
from podyard.images.unpack import Workers
from podyard.linux import process

logger = logging.getLogger(__name__)

SYNC_LIMIT = 300.0
"""Seconds for writing an image's layers to the disk."""
REMOVE_LIMIT = 300.0
"""Seconds for removing the trees of an image."""

_TRASH = ".old"


class _NothingBelowError(Exception):
    """The layer below, which was being unpacked too, has come to nothing."""


class Snapshots:
    """The directory of unpacked layers (``l``) and that of their records (``records``)."""

    def __init__(self, folder: Path, records: ImageRecords) -> None:
        self._folder = folder / "l"
        self._records_folder = folder / "records"
        self._records = records
        self._known: dict[str, SnapshotRecord] = {}
        # Whole, but perhaps not on the disk yet: ``sync`` comes before an image's record, which makes layers stay.
        self._unsynced: set[str] = set()
        self._suspect: frozenset[str] = frozenset()
        self._mounted: Callable[[], Collection[str]] = frozenset
        self._removing: set[Path] = set()
        self._cleaning: set[asyncio.Future[None]] = set()
        self.workers = Workers()
        """Who starts what unpacks, checks and packs layers."""
        self._making = Makings(self._folder, self.workers)
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    async def start(self) -> None:
        """Read the records; remove records without a directory, half-made directories and those without a record.

        Layers that no image uses are kept if this boot made them: the files of others may not have reached the disk.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._records_folder.mkdir(mode=0o700, exist_ok=True)
        self._empty.mkdir(mode=0o755, exist_ok=True)
        recorded = self._records.snapshots()
        usable = [record for record in recorded if record.boot_id in {"", self._boot_id}]
        self._known = {record.chain_id: record for record in usable if self.tree(record).is_dir()}
        self._unsynced = {record.chain_id for record in self._known.values() if record.boot_id}
        lost = [record.chain_id for record in recorded if record.chain_id not in self._known]
        if lost:
            self._records.delete((), lost)
        self._making.next = max((record.folder for record in recorded), default=0) + 1
        await _remove(self.strays())

    async def settled(self) -> None:
        """Wait until what failed has been removed."""
        if self._cleaning:
            await asyncio.wait(self._cleaning)

    async def close(self) -> None:
        """End the workers."""
        self._making.let_go()
        await self.settled()
        await self.workers.close()

    def __contains__(self, chain_id: str) -> bool:
        return chain_id in self._known and chain_id not in self._suspect

    def record(self, chain_id: str) -> SnapshotRecord:
        """What is known of an unpacked layer. Raises KeyError when it is not here."""
        return self._known[chain_id]

    def records(self) -> Collection[SnapshotRecord]:
        """All of them."""
        return self._known.values()

    def tree(self, record: SnapshotRecord) -> Path:
        """A layer's directory."""
        return self._folder / str(record.folder)

    def record_file(self, record: SnapshotRecord) -> Path:
        """The file by which a layer is checked. Raises DataLoss when it is missing or damaged. It reads the file."""
        path = self._records_folder / str(record.folder)
        try:
            with open(path, "rb") as file:
                found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except FileNotFoundError:
            found = "nothing"
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            raise DataLoss(f"the record {path} of the layer cannot be read: {error.strerror}") from error
        if found != record.record:
            raise DataLoss(f"the record {path} of the layer should have the digest {record.record} but has {found}")
        return path

    def lower_dirs(self, chain_ids: Sequence[str]) -> list[Path]:
        """The directories for an overlay, the topmost first; an empty one for an image without layers."""
        return [self.tree(self._known[chain_id]) for chain_id in reversed(chain_ids)] or [self._empty]

    async def begun(self, chain: Sequence[str]) -> None:
        """Wait until each layer of ``chain`` is here, or its unpacking has begun."""
        await self._making.begun(chain, self.__contains__)

    def release(self, chain_ids: Collection[str]) -> None:
        """All layers of an image have come to be, or the others will not: no worker needs to wait for more of them."""
        self._making.release(chain_ids)

    async def unpack(self, blob: Path, media_type: str, chain: Sequence[str], diff_id: str, small: int = 0) -> bool:
        """Unpack the top layer of ``chain``, whose others are here already, or ``begun``.

        It is whole, then in the database, or there is nothing of it. False: what was begun below has come to nothing.
        ``small``: how many layers, this one and those on top of it in the image, one worker should unpack, since they
        are small. ``release`` the image's layers then.

        Raises what unpack_layer raises.
        """
        try:
            lower, begun = self._layers_below(chain)
        except _NothingBelowError:
            if (failing := self._making.get(chain[-2])) is not None:
                # It is begun, but has not seen yet that it stands on nothing.
                await asyncio.wait([failing.whole])
            return False
        below = begun[0] if begun else None
        if chain[-1] in self._known:
            # It will be replaced: workers that have it below them would go on to look at the old one.
            self._making.let_go()
        making = self._making.begin(chain[-1], chain[-2] if len(chain) > 1 else None, small)
        tree, listing = making.tree, self._records_folder / making.tree.name
        try:
            with _nothing_below(begun):
                made = await making.stack.unpack(
                    tree, blob, media_type, diff_id=diff_id, lower=lower, below=below, record=listing
                )
                if below is not None:
                    await asyncio.shield(below)
            used = chain[-1] in self._known and not self._known[chain[-1]].boot_id
            if used:
                # Images stand on it: were it to count in this boot only, the next would forget them.
                await self._write_out()
            self._check_replaceable(chain[-1])
            record = SnapshotRecord(
                chain_id=chain[-1],
                folder=int(tree.name),
                size=made.size,
                inodes=made.inodes,
                made_at=time.time_ns(),
                boot_id="" if used else self._boot_id,
                record=made.record,
                disk=made.disk + 512 * listing.stat().st_blocks,
            )
            self._records.save_snapshot(record)
        except BaseException as error:
            self._making.end(making, whole=False)
            # Whoever cancels does it more than once.
            cleaning = asyncio.ensure_future(self.remove([tree, listing]))
            self._cleaning.add(cleaning)
            cleaning.add_done_callback(self._cleaned)
            await asyncio.shield(cleaning)
            if isinstance(error, _NothingBelowError):
                return False
            raise
        replaced = self._known.get(chain[-1])
        for text in made.left_out:
            logger.warning("the layer %s is unpacked without what this host does not take: %s", diff_id, text)
        self._known[chain[-1]] = record
        if not used:
            self._unsynced.add(chain[-1])
        self._making.end(making, whole=True)
        if replaced is not None:
            self._suspect -= {chain[-1]}
            await self._remove_unused([self.tree(replaced), self._records_folder / str(replaced.folder)])
        return True

    async def sync(self, chain_ids: Collection[str]) -> None:
        """See to it that layers are on the disk. Raises Internal, DeadlineExceeded when the disk does not take them."""
        pending = frozenset(self._unsynced)
        if pending.isdisjoint(chain_ids):
            return
        await self._write_out()
        self._unsynced -= pending

    async def _write_out(self) -> None:
        result = await process.run(["sync", "--file-system", str(self._folder)], limit=SYNC_LIMIT)
        if result.code != 0:
            raise Internal(f"cannot write {self._folder} to the disk: {result.stderr.decode(errors='replace').strip()}")

    def used(self, chain_ids: Collection[str]) -> None:
        """An image has come to use layers: the database has it."""
        for chain_id in chain_ids:
            if self._known[chain_id].boot_id:
                self._known[chain_id] = replace(self._known[chain_id], boot_id="")

    @contextmanager
    def suspected(self, chain_ids: Collection[str], mounted: Callable[[], Collection[str]]) -> Iterator[None]:
        """While this lasts, some layers count as not here, so that they are fetched and unpacked again.

        Those that are ``mounted`` when this is done are not replaced: unpacking them raises FailedPrecondition.
        """
        self._suspect, self._mounted = frozenset(chain_ids), mounted
        try:
            yield
        finally:
            self._suspect, self._mounted = frozenset(), frozenset
            self._making.look_again()

    def forget(self, chain_ids: Collection[str]) -> list[Path]:
        """Put layers that the database has forgotten out of the way; gives what is left of them, for ``remove``."""
        self._unsynced -= set(chain_ids)
        return [path for chain_id in chain_ids for path in self._put_away(self._known.pop(chain_id))]

    async def remove(self, paths: Sequence[Path]) -> None:
        """Remove what ``forget`` or ``strays`` gave."""
        self._removing.update(paths)
        try:
            await _remove(paths)
        finally:
            self._removing.difference_update(paths)

    async def _remove_unused(self, paths: Sequence[Path]) -> None:
        """Remove what the layers that are being unpacked may look at, once these are whole or have come to nothing."""
        self._removing.update(paths)
        try:
            await self._making.ended()
        finally:
            await self.remove(paths)

    def strays(self) -> list[Path]:
        """Trees and records that nothing knows: they go at the next start, or with ``podyard gc``."""
        numbers = {str(record.folder) for record in self._known.values()} | {"0"}
        numbers |= self._making.names()
        found = [*self._folder.iterdir(), *self._records_folder.iterdir()]
        return [path for path in found if path.name not in numbers and path not in self._removing]

    def _check_replaceable(self, chain_id: str) -> None:
        if chain_id in self._known and chain_id in self._mounted():
            raise FailedPrecondition("containers use the layer: remove them first")

    def _layers_below(self, chain: Sequence[str]) -> tuple[list[Path], list[asyncio.Future[bool]]]:
        """The directories of the layers below the top one, the topmost first; of those begun, what says how they end.

        Each of these ends after those that follow it.
        """
        lower: list[Path] = []
        begun: list[asyncio.Future[bool]] = []
        for chain_id in reversed(chain[:-1]):
            making = self._making.get(chain_id)
            if making is not None:
                lower.append(making.tree)
                begun.append(making.whole)
            elif chain_id in self._known:
                lower.append(self.tree(self._known[chain_id]))
            else:
                raise _NothingBelowError
        return lower, begun

    def _cleaned(self, cleaning: asyncio.Future[None]) -> None:
        self._cleaning.discard(cleaning)
        if not cleaning.cancelled() and (error := cleaning.exception()) is not None:
            logger.warning("what a failed pull has left goes at the next start: %s", error)

    def _put_away(self, record: SnapshotRecord) -> list[Path]:
        path = self.tree(record)
        away = path.with_suffix(_TRASH)
        # Where somebody else has removed it, there is nothing to put away.
        with suppress(FileNotFoundError):
            path.rename(away)
        paths = [away, self._records_folder / str(record.folder)]
        self._removing.update(paths)
        return paths

    @property
    def _empty(self) -> Path:
        return self._folder / "0"


@contextmanager
def _nothing_below(begun: Sequence[asyncio.Future[bool]]) -> Iterator[None]:
    """Whatever happens inside is of no account when something that was begun below has come to nothing."""

    def failed() -> bool:
        return any(below.done() and not below.result() for below in begun)

    try:
        yield
    except PodyardError as error:
        if failed():
            raise _NothingBelowError from error
        raise
    if failed():
        raise _NothingBelowError


async def _remove(paths: Sequence[Path]) -> None:
    # rm(1): shutil.rmtree would hold the interpreter for much of the time that a large layer takes.
    if not paths:
        return
    command = ["rm", "-rf", "--one-file-system", "--", *map(str, paths)]
    result = await process.run(command, limit=REMOVE_LIMIT)
    if result.code != 0:
        raise Internal(f"cannot remove layers: {result.stderr.decode(errors='replace').strip()}")
