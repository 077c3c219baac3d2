"""The engine of named steps: everything that changes the host runs through it.

    step.py      Step, Together and Operation: what an operation is made of
    journal.py   which operations are in flight and how far they are, in the database
    engine.py    runs operations: order, joining, time limits, undo, recovery after a crash
    hooks.py     users' code before and after a named step
    trace.py     the stages of a call, with their times

The package knows nothing of containers. It is tested alone, with steps that fail, hang and die.
"""

from podyard.operations.engine import Engine
from podyard.operations.hooks import Hooks
from podyard.operations.journal import Journal
from podyard.operations.step import Operation, Step, Together
from podyard.operations.trace import Trace, stage, time_left

__all__ = ["Engine", "Hooks", "Journal", "Operation", "Step", "Together", "Trace", "stage", "time_left"]
