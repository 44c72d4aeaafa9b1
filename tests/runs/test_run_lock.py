"""Run folder lock: one process at a time, released when the process dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdar_gym.runs import lock
from sdar_gym.runs.lock import RunLockedError, locked

HOLD = """
import sys, time
from pathlib import Path
from sdar_gym.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_process_is_told_who_has_it(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with (
        pytest.raises(RunLockedError, match=rf"{tmp_path} is in use by process {holder.pid} on .* since 20"),
        locked(tmp_path),
    ):
        pytest.fail("Two have the folder.")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_was_killed_has_it_no_longer(number: int, holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(number)
    holder.wait()
    with locked(tmp_path):
        owner = json.loads((tmp_path / lock.LOCK).read_text())
        assert owner["pid"] == os.getpid()
    # It ended in good order, and says so.
    assert (tmp_path / lock.LOCK).read_text() == ""


def test_the_same_process_cannot_have_it_twice_but_again(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RunLockedError), locked(tmp_path):
        pytest.fail("Two have the folder.")
    with locked(tmp_path):
        pass


def foreign(folder: Path) -> Path:
    """A lock of another machine whose locks this one does not see."""
    path = folder / lock.LOCK
    path.write_text(json.dumps({"host": "another-machine", "pid": 7, "since": "2026-01-01T00:00:00+00:00"}))
    return path


def test_a_holder_on_another_machine_is_recognised_by_its_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = foreign(tmp_path), [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 1010:
            os.utime(path, (2e9, 2e9))

    monkeypatch.setattr(lock.time, "sleep", sleep)
    monkeypatch.setattr(lock.time, "monotonic", lambda: now[0])
    with pytest.raises(RunLockedError, match="process 7 on another-machine since 2026"), locked(tmp_path):
        pytest.fail("Two have the folder.")


def test_a_holder_on_another_machine_that_is_silent_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(tmp_path)
    now = [1000.0]
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(lock.time, "monotonic", lambda: now[0])
    with locked(tmp_path):
        assert now[0] > 1050


def test_what_another_machine_left_long_ago_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(foreign(tmp_path), (1e9, 1e9))
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: pytest.fail("It waited."))
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"garbage", b"[1]", b"\xff\xfe", b'{"pid": '])
def test_a_lock_that_says_nothing_is_free(content: bytes, tmp_path: Path) -> None:
    (tmp_path / lock.LOCK).write_bytes(content)
    with locked(tmp_path):
        pass
