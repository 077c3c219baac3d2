"""A stand-in for CRIU: runc, whose checkpoints hold no processes, and whose restored containers begin anew.

What podyard does around CRIU can be tested with it where CRIU does not work.

Faults are ordered by files beside the script: ``checkpoint.fails`` or ``restore.fails``, where the container whose
program's arguments contain the file's text is refused as runc and CRIU would refuse it, ``checkpoint.hangs``, as long
as it is there, and ``restore.kills``, which has the pid of a process to kill as soon as a container is restored.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

NAME = "saving-runc"


def install(folder: Path) -> Path:
    """Put the program into a directory; its path."""
    script = folder / NAME
    script.write_text(f"#!{sys.executable} -S\n{Path(__file__).read_text()}")
    script.chmod(0o755)
    return script


def criu_works() -> bool:
    """Whether this host has a CRIU that works on its kernel."""
    return shutil.which("criu") is not None and subprocess.run(["criu", "check"], capture_output=True).returncode == 0


def main(arguments: Sequence[str]) -> int:
    """Run one verb."""
    if "checkpoint" in arguments:
        return _checkpoint(arguments)
    if "restore" in arguments:
        return _restore(arguments)
    return os.execvp("runc", ["runc", *arguments])


def _checkpoint(arguments: Sequence[str]) -> int:
    images, work = Path(_value(arguments, "--image-path")), Path(_value(arguments, "--work-path"))
    while _order("checkpoint.hangs").exists():
        time.sleep(0.02)
    bundle = Path(json.loads(_runc(_globals(arguments), "state", arguments[-1]).stdout)["bundle"])
    if _refused("checkpoint", bundle, work / "dump.log"):
        return 1
    (images / "pages-1.img").write_text("pages\n")
    return 0


def _restore(arguments: Sequence[str]) -> int:
    bundle = Path(_value(arguments, "--bundle"))
    if _refused("restore", bundle, Path(_value(arguments, "--work-path")) / "restore.log"):
        return 1
    if not Path(_value(arguments, "--image-path"), "pages-1.img").exists():
        sys.stderr.write("no images\n")
        return 1
    created = ["--bundle", str(bundle), "--pid-file", _value(arguments, "--pid-file")]
    code = subprocess.run(["runc", *_globals(arguments), "create", *created, arguments[-1]], check=False).returncode
    code = code or subprocess.run(["runc", *_globals(arguments), "start", arguments[-1]], check=False).returncode
    victim = _order("restore.kills")
    if victim.exists():
        pid = int(victim.read_text())
        victim.unlink()
        os.kill(pid, signal.SIGKILL)
    return code


def _refused(verb: str, bundle: Path, log: Path) -> bool:
    order = _order(f"{verb}.fails")
    words = json.loads((bundle / "config.json").read_text())["process"]["args"]
    if not order.exists() or order.read_text() not in " ".join(words):
        return False
    log.write_text("(00.1) fine\n(00.2) Error (criu/stand-in.c:1): it was ordered\n")
    sys.stderr.write(f"criu failed: type NOTIFY errno 0 log file: {log}\n")
    return True


def _order(name: str) -> Path:
    return Path(sys.argv[0]).with_name(name)


def _globals(arguments: Sequence[str]) -> list[str]:
    verb = next(index for index, word in enumerate(arguments) if word in {"checkpoint", "restore"})
    return list(arguments[:verb])


def _value(arguments: Sequence[str], option: str) -> str:
    for index, word in enumerate(arguments):
        if word == option:
            return arguments[index + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    raise SystemExit(f"{option} is missing in {arguments}")


def _runc(options: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["runc", *options, *arguments], capture_output=True, check=True)


if __name__ == "__main__" and Path(sys.argv[0]).name == NAME:
    sys.exit(main(sys.argv[1:]))
