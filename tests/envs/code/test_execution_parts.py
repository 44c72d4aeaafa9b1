"""Parts of the sandbox that run outside of it too: folders, processes, frames, the filter of system calls."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sdar_gym.envs.code.execution.sandbox import folders, processes, syscall_filter, syscalls, wire


def test_a_link_in_place_of_a_folder_goes_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    (target / "file").touch()
    link = tmp_path / "work-0"
    link.symlink_to(target)
    folders.remove_folder(str(link))
    assert not link.is_symlink()
    assert (target / "file").exists()
    assert target.stat().st_mode & 0o777 == 0o755
    folders.remove_folder(str(link))
    (tmp_path / "work-1").touch()
    folders.remove_folder(str(tmp_path / "work-1"))
    assert sorted(os.listdir(tmp_path)) == ["target"]


def test_a_folder_is_emptied_however_deep_it_is() -> None:
    # In memory, where it is quick.
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    (folder / "beside").mkdir()
    (folder / "file").touch()
    here = os.getcwd()
    try:
        os.chdir(folder)
        for _ in range(1500):
            os.mkdir("d" * 20)
            Path("f").touch()
            os.symlink("..", "up")
            os.chdir("d" * 20)
    finally:
        os.chdir(here)
    (folder / "shut").mkdir()
    (folder / "shut" / "in").mkdir()
    (folder / "shut").chmod(0)
    folders.empty_folder(str(folder))
    assert os.listdir(folder) == []
    folder.rmdir()


def test_children_are_found_both_ways() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=-1)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in processes.children(os.getpid())
        assert sorted(processes._children_by_parent(os.getpid())) == sorted(processes.children(os.getpid()))
        assert processes.resident_bytes(child.pid) > 1 << 20
        assert processes.threads_of_user(os.getuid()) >= 2
    finally:
        child.kill()
        child.communicate()
    assert processes.resident_bytes(child.pid) == 0
    assert processes.children(child.pid) == []


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"\0\0\0\x01", "closed"),
        (b"", "closed"),
        (b"\xff\xff\xff\xff", "at most"),
        (b"\0\0\0\x01x", "no JSON"),
        (b"\0\0\0\x02[]", "no JSON object"),
    ],
)
def test_frames_that_are_none(sent: bytes, message: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(wire.WireError, match=message):
            wire.receive_json(ours, 5)


def test_frames_that_do_not_come() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\0\0\0\x09x")
        with pytest.raises(wire.WireTimeoutError):
            wire.receive(ours, 100, 0.05)


def test_the_filter_is_refused_on_machines_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "MACHINE", "riscv64")
    with pytest.raises(OSError, match="system calls on riscv64 are not known, only on x86_64 and aarch64"):
        syscall_filter.syscall_filter(1, alone=True)


def test_numbers_of_system_calls_are_in_both_columns_once() -> None:
    for column in (0, 1):
        numbers = [pair[column] for pair in syscall_filter._REFUSED.values()]
        assert len(set(numbers)) == len(numbers)
    for name, known in syscalls.NUMBERS["x86_64"].items():
        if name in syscall_filter._REFUSED:
            assert syscall_filter._REFUSED[name] == (known, syscalls.NUMBERS["aarch64"][name])
