#!/usr/bin/env python3
"""Makes the example image, an OCI layout, out of this host's own static busybox (Debian: busybox-static).

usage: examples/make_image.py FOLDER          then: podyard load FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from podyard.errors import PodyardError
from podyard.images import busybox
from podyard.images.layout import LayoutWriter

TAG = "localhost/podyard-example:1"


def main(arguments: list[str]) -> None:
    """Write the layout."""
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    try:
        tree = busybox.tree(busybox.find())
    except PodyardError as error:
        raise SystemExit(str(error)) from None
    config = {"Cmd": ["sh"], "Env": [busybox.PATH]}
    LayoutWriter(Path(arguments[0])).add_image([tree], tags=[TAG], config=config)


if __name__ == "__main__":
    main(sys.argv[1:])
