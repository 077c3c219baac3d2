"""Files that say how registries are reached, and the settings that make an image store read them."""

from __future__ import annotations

import base64
import json
from pathlib import Path


def hosts(folder: Path, name: str, text: str) -> dict[str, object]:
    """A hosts.toml; the setting that makes a store read it."""
    (folder / "certs.d" / name).mkdir(parents=True)
    (folder / "certs.d" / name / "hosts.toml").write_text(text)
    return {"hosts_dirs": [folder / "certs.d"]}


def conf(folder: Path, text: str) -> dict[str, object]:
    """A registries.conf; the setting that makes a store read it."""
    (folder / "registries.conf").write_text(text)
    return {"registries_conf": folder / "registries.conf"}


def auth_file(folder: Path, **users: str) -> dict[str, object]:
    """An auth.json with a password "secret" for each registry's user; the setting that makes a store read it."""
    auths = {name: {"auth": base64.b64encode(f"{user}:secret".encode()).decode()} for name, user in users.items()}
    (folder / "auth.json").write_text(json.dumps({"auths": auths}))
    return {"auth_files": [folder / "auth.json"]}
