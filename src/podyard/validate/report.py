"""What a run found: for people as it comes, as JUnit XML for build servers, as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from podyard.validate.case import Case
from podyard.validate.runner import Outcome, Result, State

__all__ = ["Progress", "left_behind", "summary", "write_json", "write_junit"]

MARKS: Mapping[State, str] = {"passed": "pass", "failed": "FAIL", "skipped": "skip"}


class Progress:
    """Prints each subject as soon as all of its cases have ended, whatever order they end in.

    ``say`` prints a line, ``verbose``: passed cases too, not only their number.
    """

    def __init__(self, cases: Sequence[Case], say: Callable[[str], None], *, verbose: bool) -> None:
        self._open = Counter(entry.subject for entry in cases)
        self._order = {entry.title: number for number, entry in enumerate(cases)}
        self._results: dict[str, list[Result]] = {}
        self._say = say
        self._verbose = verbose

    def __call__(self, result: Result) -> None:
        """Take a result in."""
        subject = result.case.subject
        self._results.setdefault(subject, []).append(result)
        self._open[subject] -= 1
        if self._open[subject] == 0:
            self._tell(subject, sorted(self._results[subject], key=lambda entry: self._order[entry.case.title]))

    def _tell(self, subject: str, results: Sequence[Result]) -> None:
        self._say(f"{subject}: {_counted(results)}")
        for result in results:
            if result.state == "passed" and not self._verbose:
                continue
            self._say(f"  {MARKS[result.state]}  {result.case.name} ({result.seconds:.2f} s)")
            for name, text in (("", result.reason), ("expected ", result.expected), ("came     ", result.came)):
                if text:
                    self._say(f"        {name}{_one_line(text)}")
            if result.where:
                self._say(f"        at       {result.where}")


def summary(outcome: Outcome) -> str:
    """The last line, and what is left on the host."""
    text = f"{outcome.runtime}: {_counted(outcome.results)} of {len(outcome.results)} cases in {outcome.seconds:.1f} s"
    return "\n".join([_one_line(text), *left_behind(outcome.leftovers)])


def left_behind(leftovers: Sequence[str]) -> list[str]:
    """A line for each thing that is left on the host."""
    return [f"left behind: {_one_line(problem)}" for problem in leftovers]


def write_json(outcome: Outcome, path: Path) -> None:
    """{runtime, seconds, passed, failed, skipped, leftovers, cases: [{subject, name, state, seconds, …}]}."""
    cases = [
        {
            "subject": result.case.subject,
            "name": result.case.name,
            "state": result.state,
            "seconds": round(result.seconds, 3),
            "reason": result.reason,
            "expected": result.expected,
            "came": result.came,
            "where": result.where,
        }
        for result in outcome.results
    ]
    counts: dict[str, int] = {state: outcome.count(state) for state in MARKS}
    document: dict[str, Any] = {
        "runtime": outcome.runtime,
        "seconds": round(outcome.seconds, 3),
        **counts,
        "leftovers": list(outcome.leftovers),
        "cases": cases,
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_junit(outcome: Outcome, path: Path) -> None:
    """One <testsuite> for each subject, and one with a failure where something is left behind."""
    root = ElementTree.Element("testsuites", name=_clean(f"podyard validate: {outcome.runtime}"))
    for subject in dict.fromkeys(result.case.subject for result in outcome.results):
        results = [result for result in outcome.results if result.case.subject == subject]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=subject,
            tests=str(len(results)),
            failures=str(sum(result.state == "failed" for result in results)),
            skipped=str(sum(result.state == "skipped" for result in results)),
            errors="0",
            time=f"{sum(result.seconds for result in results):.3f}",
        )
        for result in results:
            _junit_case(suite, result)
    if outcome.leftovers:
        _junit_leftovers(root, outcome)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _junit_leftovers(root: ElementTree.Element, outcome: Outcome) -> None:
    suite = ElementTree.SubElement(
        root, "testsuite", name="the run", tests="1", failures="1", skipped="0", errors="0", time="0.000"
    )
    entry = ElementTree.SubElement(suite, "testcase", classname="the run", name="nothing is left behind", time="0.000")
    text = "\n".join(outcome.leftovers)
    ElementTree.SubElement(entry, "failure", message=_clean(f"left behind: {text}")).text = _clean(text)


def _junit_case(suite: ElementTree.Element, result: Result) -> None:
    entry = ElementTree.SubElement(
        suite, "testcase", classname=result.case.subject, name=result.case.name, time=f"{result.seconds:.3f}"
    )
    if result.state == "skipped":
        ElementTree.SubElement(entry, "skipped", message=_clean(result.reason))
    if result.state == "failed":
        message = f"expected {result.expected}, came {result.came}"
        ElementTree.SubElement(entry, "failure", message=_clean(message)).text = _clean(f"{message}\n{result.where}")


def _counted(results: Sequence[Result]) -> str:
    counts = Counter(result.state for result in results)
    return ", ".join(f"{counts[state]} {state}" for state in MARKS if counts[state]) or "nothing run"


def _one_line(text: str) -> str:
    """What came from a runtime must not steer the terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _clean(text: str) -> str:
    """XML 1.0 has no way to write most control characters."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)
