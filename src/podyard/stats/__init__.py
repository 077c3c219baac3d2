"""What sandboxes and containers use, and the metrics made of it.

collector.py                       asks all the others, and keeps looking in between
targets.py                         what is to be measured
cgroup.py, cgroup_v1.py, _v2.py    control groups in one form; parse.py has the kernel's formats
readings.py, rates.py              one look at a cgroup; CPU use as a rate between two
disks.py, tree.py                  the size of writable layers, measured in the background
processes.py, sample.py            what the metrics need besides
messages.py                        readings as messages of the CRI
metrics/                           the table of metrics: a name, its labels, where its value comes from
"""

from podyard.stats.collector import Collector
from podyard.stats.config import StatsConfig
from podyard.stats.targets import ContainerTarget, SandboxTarget

__all__ = ["Collector", "ContainerTarget", "SandboxTarget", "StatsConfig"]
