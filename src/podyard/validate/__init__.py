"""The behaviour of a CRI runtime, case by case: what ``podyard validate`` runs.

    case        a case, and the decorators that make one
    cases/      the cases, one subject in each file
    expect      what a case says when it is not satisfied
    kit         what a case works with
    requests    short ways to write requests
    session     what the cases of a run share
    images      the images, made on the spot
    registry    where they are pulled from
    runner      runs cases
    report      prints and writes what came of them

It knows the runtime by the CRI alone, but must run on the same host: it reads logs and mounts directories.
"""

from podyard.validate import cases, report
from podyard.validate.case import CASES, Case, case, chosen, table
from podyard.validate.expect import skip
from podyard.validate.runner import Outcome, Result, run
from podyard.validate.session import Target

__all__ = [
    "CASES",
    "Case",
    "Outcome",
    "Result",
    "Target",
    "case",
    "cases",
    "chosen",
    "report",
    "run",
    "skip",
    "table",
]
