"""``python -m podyard``: the command line."""

from podyard.cli import main

main()
