"""Processes that a tool leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys

from podyard.linux import orphans

PROGRAM = """
import asyncio, subprocess, sys
from podyard.linux import orphans, process
orphans.adopt()
tool = subprocess.run(["sh", "-c", sys.argv[1] + " & echo $!"], stdout=subprocess.PIPE, text=True)
pid = int(tool.stdout.split()[0])
asyncio.run(process.ended(pid))
print(sorted(orphans.ended_children()) == [pid])
sweeper = orphans.Sweeper()
if sys.argv[2] == "sweep":
    sweeper.sweep()
    print(sorted(orphans.ended_children()) == [pid])
    sweeper.sweep()
print(orphans.exit_code(pid), orphans.ended_children())
"""


def adopt(command: str, how: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"({command}) >/dev/null", how], capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    return done.stdout


def test_the_exit_code_of_an_orphan_is_known() -> None:
    assert adopt("sleep 0.2; exit 7", "ask") == "True\n7 set()\n"


def test_a_signal_is_128_and_its_number() -> None:
    assert adopt("exec sh -c 'sleep 0.2; kill -9 $$'", "ask") == "True\n137 set()\n"


def test_what_nobody_asks_for_is_collected_at_the_second_sweep() -> None:
    assert adopt("sleep 0.2", "sweep") == "True\nTrue\nNone set()\n"


NAMESPACE_PROGRAM = """
import os, subprocess, threading, time
from podyard.linux import libc, orphans
orphans.adopt()
first = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "1000"], stderr=subprocess.DEVNULL)
children = f"/proc/{first.pid}/task/{first.pid}/children"
while not open(children).read():
    time.sleep(0.01)
init = int(open(children).read())
tool = os.fork()
if tool == 0:
    libc.setns(os.pidfd_open(init), 0x20000000)  # CLONE_NEWPID
    if os.fork() == 0:
        os._exit(3)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # it has ended, and is left to podyard
    os._exit(1)
os.waitpid(tool, 0)
print(len(orphans.ended_children()))
orphans.collect_in_namespace_of(os.getpid())
print(len(orphans.ended_children()))
os.kill(init, 9)
orphans.collect_in_namespace_of(init)
print(first.wait() != 0, len(orphans.ended_children()))
"""


def test_what_holds_a_pid_namespace_up_is_collected() -> None:
    done = subprocess.run([sys.executable, "-c", NAMESPACE_PROGRAM], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("1\n1\nTrue 0\n", "")


def test_a_process_that_is_no_child_has_no_exit_code() -> None:
    assert orphans.exit_code(os.getppid()) is None
