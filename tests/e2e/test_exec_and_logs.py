"""ExecSync and container logs, through the CRI."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from tests.support.patience import PATIENCE
from tests.support.pods import WAIT_LIMIT, Kit, parse_log

from podyard.cri import api
from podyard.errors import DeadlineExceeded, NotFound, PodyardError

# Go leaves out the zeros at the end of a fraction (RFC3339Nano).
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d) (stdout|stderr) [FP] .*")


async def running(kit: Kit, **fields: object) -> str:
    return await kit.start(await kit.sandbox(), ["sleep", "1000"], **fields)


async def test_output_and_exit_code(kit: Kit) -> None:
    container_id = await running(kit)
    result = await kit.client.runtime.exec_sync(container_id, ["sh", "-c", "echo out; echo err >&2; exit 7"], 20)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 7)


async def test_a_command_runs_as_the_container_does(kit: Kit) -> None:
    container_id = await running(
        kit,
        envs=[api.KeyValue(key="K", value=b"v")],
        working_dir="/tmp",
        linux=api.LinuxContainerConfig(
            security_context=api.LinuxContainerSecurityContext(run_as_user=api.Int64Value(value=65534))
        ),
    )
    assert await kit.exec(container_id, "sh", "-c", "echo $(id -u) $K $(pwd)") == "65534 v /tmp\n"


async def test_many_at_once(kit: Kit) -> None:
    container_id = await running(kit)
    outputs = await asyncio.gather(*(kit.exec(container_id, "sh", "-c", f"echo {number}") for number in range(20)))
    assert outputs == [f"{number}\n" for number in range(20)]


async def test_a_timeout_kills_the_command(kit: Kit) -> None:
    container_id = await running(kit)
    with pytest.raises(DeadlineExceeded):
        await kit.client.runtime.exec_sync(container_id, ["sh", "-c", "sleep 4711; true"], 1)
    async with asyncio.timeout(WAIT_LIMIT):
        while "sleep 4711" in await kit.exec(container_id, "ps", "-o", "args"):
            await asyncio.sleep(0.05)


async def test_a_megabyte_of_output(kit: Kit) -> None:
    container_id = await running(kit)
    result = await kit.client.runtime.exec_sync(container_id, ["head", "-c", "1000000", "/dev/zero"], int(WAIT_LIMIT))
    assert result.stdout == bytes(1000000)


@pytest.mark.parametrize("errors", [0, 1000, 17_000_000])
async def test_more_output_than_an_answer_holds(ours: Kit, errors: int) -> None:
    container_id = await running(ours)
    script = f"head -c 17000000 /dev/zero; head -c {errors} /dev/zero >&2; exit 3"
    result = await ours.client.runtime.exec_sync(container_id, ["sh", "-c", script], int(20 * PATIENCE))
    kept = (16 << 20) - 1024
    assert len(result.stderr) == min(errors, kept // 2)
    assert (len(result.stdout), result.exit_code) == (kept - len(result.stderr), 3)


async def test_orphans_are_not_waited_for(kit: Kit) -> None:
    container_id = await running(kit)
    async with asyncio.timeout(WAIT_LIMIT):
        assert await kit.exec(container_id, "sh", "-c", "sleep 500 & echo started") == "started\n"


async def test_a_command_that_does_not_exist(kit: Kit) -> None:
    container_id = await running(kit)
    with pytest.raises(PodyardError, match="no-such-command"):
        await kit.exec(container_id, "no-such-command")


async def test_exec_in_what_does_not_run(kit: Kit) -> None:
    container_id = await kit.start(await kit.sandbox(), ["true"])
    await kit.ended(container_id)
    with pytest.raises(PodyardError, match=r"(?i)exited"):
        await kit.exec(container_id, "true")
    with pytest.raises(NotFound):
        await kit.exec("0" * 64, "true")


async def test_a_log_has_the_cri_format(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    status = await kit.ended(await kit.start(sandbox_id, ["sh", "-c", "echo one; echo two >&2; printf three"]))
    lines = Path(status.log_path).read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert sorted(kit.log_lines(status)) == [("stderr", "two\n"), ("stdout", "one\n"), ("stdout", "three")]
    assert Path(status.log_path).stat().st_mode & 0o777 == 0o640
    assert status.log_path.startswith(kit.configs[sandbox_id].log_directory)


async def test_a_long_line_is_split_and_whole(kit: Kit) -> None:
    status = await kit.ended(
        await kit.start(await kit.sandbox(), ["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo end"])
    )
    lines = kit.log_lines(status)
    assert len(lines) > 3
    assert "".join(content for _, content in lines) == "x" * 100000 + "end\n"
    assert [content.endswith("\n") for _, content in lines] == [False] * (len(lines) - 1) + [True]


async def test_a_terminal_writes_to_stdout_alone(kit: Kit) -> None:
    status = await kit.ended(
        await kit.start(await kit.sandbox(), ["sh", "-c", "echo out; echo err >&2; test -t 1"], tty=True)
    )
    assert status.exit_code == 0
    assert [stream for stream, _ in kit.log_lines(status)] == ["stdout", "stdout"]


async def test_no_log_path_no_log(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    status = await kit.ended(await kit.start(sandbox_id, ["echo", "x"], log_path=""))
    assert status.exit_code == 0
    assert list(Path(kit.configs[sandbox_id].log_directory).glob("*.log")) == []


async def test_nothing_is_lost_across_a_rotation(kit: Kit) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    container_id = await kit.start(await kit.sandbox(), ["sh", "-c", f"{script}; sleep 1; {script}; sleep 1000"])
    path = Path((await kit.status(container_id)).log_path)
    rotated = []
    for number in range(4):
        old = path.with_name(f"rotated-{number}")
        path.rename(old)
        await kit.client.runtime.reopen_container_log(container_id)
        assert path.exists()
        rotated.append(old)
        await asyncio.sleep(0.2)
    async with asyncio.timeout(WAIT_LIMIT):
        while True:
            # The writer of the log may cut a line into parts wherever its buffer ends.
            text = "".join(content for file in [*rotated, path] for _, content in parse_log(file.read_bytes()))
            if text.count("line 2999\n") == 2:
                break
            await asyncio.sleep(0.1)
    assert text == "".join(f"line {number}\n" for number in range(3000)) * 2


async def test_a_log_that_was_not_renamed_goes_on(kit: Kit) -> None:
    script = "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two; sleep 1000"
    container_id = await kit.start(await kit.sandbox(), ["sh", "-c", script])
    status = await kit.status(container_id)
    await _written(kit, status, "one\n")
    await kit.client.runtime.reopen_container_log(container_id)
    await kit.exec(container_id, "touch", "/go")
    await _written(kit, status, "one\ntwo\n")


async def test_many_ask_for_one_rotation(kit: Kit) -> None:
    script = "i=0; while :; do echo $i; i=$((i+1)); done"
    container_id = await kit.start(await kit.sandbox(), ["sh", "-c", script])
    path = Path((await kit.status(container_id)).log_path)
    rotated = [path.with_name(f"rotated-{number}") for number in range(10)]
    for old in rotated:
        path.rename(old)
        await asyncio.gather(*(kit.client.runtime.reopen_container_log(container_id) for _ in range(5)))
    await kit.client.runtime.stop_container(container_id, 0)
    await kit.ended(container_id)
    text = "".join(content for file in [*rotated, path] for _, content in parse_log(file.read_bytes()))
    assert text == "".join(f"{number}\n" for number in range(text.count("\n")))


async def _written(kit: Kit, status: api.ContainerStatus, text: str) -> None:
    """Wait until a container's log holds this text and nothing else."""
    async with asyncio.timeout(WAIT_LIMIT):
        while kit.output(status) != text:
            assert text.startswith(kit.output(status))
            await asyncio.sleep(0.05)


async def test_a_log_of_what_has_ended_is_not_reopened(kit: Kit) -> None:
    container_id = await kit.start(await kit.sandbox(), ["true"])
    await kit.ended(container_id)
    with pytest.raises(PodyardError):
        await kit.client.runtime.reopen_container_log(container_id)


async def test_a_burst_before_the_end_is_logged(kit: Kit) -> None:
    script = "i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done"
    status = await kit.ended(await kit.start(await kit.sandbox(), ["sh", "-c", script]))
    assert kit.output(status) == "".join(f"{number}\n" for number in range(5000))


async def test_an_empty_command_is_refused(kit: Kit) -> None:
    container_id = await running(kit)
    with pytest.raises(PodyardError):
        await kit.client.runtime.exec_sync(container_id, [], 5)
