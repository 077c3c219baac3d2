"""How much longer than on an ordinary machine tests wait for things that must happen."""

from __future__ import annotations

import os

PATIENCE = float(os.environ.get("PODYARD_TEST_PATIENCE", "1"))
"""A factor for the limits of waits: more than 1 where the machine is emulated (tests/vm)."""
