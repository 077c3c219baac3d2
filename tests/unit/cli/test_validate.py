"""``podyard validate``, before and after the cases: its options, its reports, how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime


@pytest.mark.parametrize("option", ["--junit", "--json"])
def test_a_report_that_cannot_be_written_is_told_before_anything_is_run(
    podyard: Podyard, runtime: FakeRuntime, tmp_path: Path, option: str
) -> None:
    missing = tmp_path / "missing" / "report"
    ended = podyard("validate", "-k", "the runtime has a name", option, str(missing))
    assert ended.code == 2
    assert ended.err == f"podyard: error: the report {missing} cannot be written: No such file or directory\n"
    assert runtime.calls == []


def test_looking_whether_a_report_can_be_written_leaves_what_is_there(podyard: Podyard, tmp_path: Path) -> None:
    there, new = tmp_path / "there.xml", tmp_path / "new.json"
    there.write_text("of the run before")
    ended = podyard(
        "-r", str(tmp_path / "none.sock"), "validate", "-k", "version: ", "--junit", str(there), "--json", str(new)
    )
    assert ended.code == 14
    assert there.read_text() == "of the run before"
    assert not new.exists()
