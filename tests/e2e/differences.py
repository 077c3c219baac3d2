"""Where Debian's containerd (1.6.20) does otherwise than podyard: each test, and why.

These tests must fail there: when one passes, its line goes.
"""

CONTAINERD: dict[str, str] = {}
