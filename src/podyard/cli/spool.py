"""Archives by way of this command's standard streams: the daemon reads and writes files, so there is one between."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from podyard.cli.standard import Input, Output
from podyard.errors import InvalidArgument

STANDARD = Path("-")
"""What stands for the standard stream where a file is named."""
_FOLDER = "/var/tmp"
"""On a disk: archives are large, and /tmp may be memory."""
_STDIN, _STDOUT = 0, 1
_PIECE = 1 << 20


@asynccontextmanager
async def received() -> AsyncIterator[Path]:
    """All of standard input as a file, which is there for the block. Raises InvalidArgument where it is a terminal."""
    if os.isatty(_STDIN):
        raise InvalidArgument("standard input is a terminal: name a file, or pipe an archive in")
    with tempfile.NamedTemporaryFile(prefix="podyard-load-", dir=_FOLDER) as file:
        async with Input(_STDIN) as source:
            while data := await source.read():
                await asyncio.to_thread(file.write, data)
        file.flush()
        yield Path(file.name)


@asynccontextmanager
async def sending() -> AsyncIterator[Path]:
    """Where a file is to be made in the block, which then goes to standard output. Raises InvalidArgument where that
    is a terminal."""
    if os.isatty(_STDOUT):
        raise InvalidArgument("standard output is a terminal: name a file, or redirect it")
    with tempfile.TemporaryDirectory(prefix="podyard-save-", dir=_FOLDER) as folder:
        path = Path(folder, "images.tar")
        yield path
        with await asyncio.to_thread(path.open, "rb") as file:
            async with Output(_STDOUT) as target:
                while data := await asyncio.to_thread(file.read, _PIECE):
                    await target.write(data)
