#!/usr/bin/env python3
"""Compile the protocol: write the Python modules and their types beside the .proto files.

usage: generate_protocol.py [--check]

With --check nothing is written: exits 1 and names the files when the committed ones are not what the .proto files and
the installed compiler give. Needs the development dependencies (grpcio-tools, mypy-protobuf).
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

SOURCE = Path(__file__).resolve().parent.parent / "src"
# The path below src is part of what is compiled in: a bare "api.proto" could meet another package's in one process.
PROTOS = ("podyard/cri/api.proto", "podyard/cri/admin.proto")


def main(arguments: list[str] | None = None) -> int:
    """Generate or check; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the committed code differs")
    check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
    if not check:
        for path, content in generated.items():
            (SOURCE / path).write_bytes(content)
        return 0
    stale = [str(path) for path, content in generated.items() if not _is(SOURCE / path, content)]
    if stale:
        print(f"not current: {', '.join(stale)}; run {Path(__file__).name} and commit the result", file=sys.stderr)
    return 1 if stale else 0


def generate(folder: Path) -> dict[Path, bytes]:
    """The generated files' content by their path below src. Raises SystemExit when the compiler refuses."""
    plugin = Path(sysconfig.get_path("scripts")) / "protoc-gen-mypy"
    command = [
        "protoc",
        f"--plugin=protoc-gen-mypy={plugin}",
        f"--proto_path={SOURCE}",
        f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}",
        f"--python_out={folder}",
        f"--mypy_out=quiet:{folder}",
        *PROTOS,
    ]
    if protoc.main(command) != 0:
        raise SystemExit("the protocol does not compile")
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*_pb2.py*"))}


def _is(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
