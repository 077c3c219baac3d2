"""What was asked of the plugins for each sandbox, on disk, so that a DEL says the same as the ADD did.

A record is written before the first plugin runs and again with the result, and removed after DEL: a crash at any
instant leaves a record for whatever the plugins may have made.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

logger = logging.getLogger(__name__)


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox's attachment: ``plugins`` are their configurations as they were run, without prevResult."""

    sandbox_id: str
    netns: str
    ifname: str
    args: str
    network: str
    version: str
    plugins: list[dict[str, Any]]
    result: dict[str, Any] | None = None


class Attachments:
    """The records, one file each. They need not survive a power cut: ``Network.gc`` finds what they would tell."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make the directory; remove what a crash left half written."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self._folder.glob("*.new"):
            file.unlink()

    def ids(self) -> set[str]:
        """The sandboxes that have a record."""
        return {file.stem for file in self._folder.glob("*.json")}

    def save(self, attachment: Attachment) -> None:
        """Write a record, in one step for every reader."""
        file = self._file(attachment.sandbox_id)
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(attachment))
        new.rename(file)

    def find(self, sandbox_id: str) -> Attachment | None:
        """A sandbox's record; None where there is none, or where a power cut has left one without its content."""
        file = self._file(sandbox_id)
        try:
            return msgspec.json.decode(file.read_bytes(), type=Attachment)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            # Its namespace has gone with the same power cut; an address that is left is found by gc.
            logger.warning("the network record %s cannot be read and is removed: %s", file, error)
            file.unlink()
            return None

    def remove(self, sandbox_id: str) -> None:
        """Forget a sandbox. Without a record this does nothing."""
        self._file(sandbox_id).unlink(missing_ok=True)

    def _file(self, sandbox_id: str) -> Path:
        if os.sep in sandbox_id or not sandbox_id:
            raise ValueError(f"{sandbox_id!r} is no sandbox id")
        return self._folder / f"{sandbox_id}.json"


def execution_config(
    network: str, version: str, plugin: Mapping[str, Any], runtime_config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A plugin's configuration as it is run (CNI 1.1.0, section 3, "Deriving execution configuration")."""
    config = {key: value for key, value in plugin.items() if key != "capabilities"}
    config |= {"name": network, "cniVersion": version}
    if runtime_config:
        config["runtimeConfig"] = dict(runtime_config)
    return config
