"""The process that compares expressions: limits, threads, other processes, and what happens when it dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdar_gym.envs.math import checking, verifier
from sdar_gym.envs.math.checking import check_answer
from sdar_gym.envs.math.verifier import ComparisonStoppedError, Verifier, shared_verifier
from sdar_gym.extras import MissingExtraError

pytest.importorskip("math_verify")
HANGS = "9^{9^{9^9}}"


def test_a_comparison_that_hangs_is_stopped_and_the_next_one_is_decided() -> None:
    begun = time.monotonic()
    check = check_answer(r"\sqrt{2}", HANGS, 1.0)
    assert (check.equal, check.stopped, check.reason) == (False, True, "the comparison took too long (limit 1 s)")
    # The limit, and the start of the process.
    assert time.monotonic() - begun < 60
    assert check_answer(r"\sqrt{27}", r"3\sqrt{3}", 20.0).equal


@pytest.mark.parametrize(
    "answer",
    [
        r"\frac{1}{" * 150 + "1" + "}" * 150,
        r"\sqrt{" * 200 + "2" + "}" * 200,
        "(" * 900 + "1" + ")" * 900,
        "{" * 1000,
        "9" * 100_000,
        "{" * 1_000_000,
        r"\frac{1}{" * 10_000,
        "10000000!",
        "(x+1)^{5000}",
        r"\binom{10^9}{5\cdot10^8}",
        "x^{x^{x^{x^{9999}}}}",
        "\\",
        "\x00",
        "=" * 500,
        "," * 500,
        r"\begin{pmatrix}" * 60,
        "1," * 900 + "1",
        r"\sqrt{2}," * 120 + "1",
    ],
    ids=lambda text: text[:12],
)
def test_hostile_answers_are_wrong_in_bounded_time(answer: str) -> None:
    begun = time.monotonic()
    assert not check_answer(r"\{\sqrt{2}, \sqrt{3}\}", answer, 1.0).equal
    assert not check_answer("5", answer, 1.0).equal
    assert time.monotonic() - begun < 60


def test_it_works_in_threads() -> None:
    # math-verify's own limit would raise here: signals work in the main thread only.
    def check(number: int) -> bool:
        return check_answer(rf"\sqrt{{{4 * number}}}", rf"2\sqrt{{{number}}}", 30.0).equal

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, range(2, 30)))
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(check(31)))
    thread.start()
    thread.join()
    assert found == [True]


def _in_a_child(queue: multiprocessing.Queue[tuple[bool, bool]]) -> None:
    queue.put(
        (check_answer(r"\sqrt{45}", r"3\sqrt{5}", 60.0).equal, check_answer(r"\sqrt{45}", r"\sqrt{6}", 60.0).equal)
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_works_in_daemonic_processes_that_share_nothing(method: str) -> None:
    # Environments of asynchronous vectors run in daemonic processes, which must not start others by multiprocessing.
    assert check_answer(r"\sqrt{20}", r"2\sqrt{5}", 60.0).equal
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue,), daemon=True)
    child.start()
    assert queue.get(timeout=120) == (True, False)
    child.join()
    assert check_answer(r"\sqrt{44}", r"2\sqrt{11}", 60.0).equal


def test_a_killed_process_is_replaced() -> None:
    own = Verifier()
    assert own.equal(r"\sqrt{8}", r"2\sqrt{2}", 60.0)
    process = own._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(ComparisonStoppedError, match="died"):
        own.equal(r"\sqrt{8}", r"2\sqrt{2}", 60.0)
    assert own.equal(r"\sqrt{8}", r"2\sqrt{2}", 60.0)
    own.close()
    own.close()


def test_it_leaves_no_process_behind() -> None:
    own = Verifier()
    own.start()
    first = own._process
    assert own.equal("x+x", "2x", 60.0)
    with pytest.raises(ComparisonStoppedError, match="too long"):
        own.equal(r"\sqrt{2}", HANGS, 0.5)
    second = own._process
    own.close()
    assert first is not None and second is not None and first is not second
    assert first.poll() is not None and second.poll() is not None


ORPHAN = """
from sdar_gym.envs.math.verifier import shared_verifier
assert shared_verifier().equal("x+x", "2x", 60.0)
print(shared_verifier()._process.pid)
"""


def test_the_process_ends_with_its_parent() -> None:
    ended = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(ended.stdout), 0)


def test_a_stopped_comparison_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Verifier, gold: str, answer: str, timeout: float) -> tuple[bool, float]:
        raise ComparisonStoppedError("the comparison took too long")

    with monkeypatch.context() as patch:
        patch.setattr(Verifier, "timed", stopped)
        assert check_answer(r"\sqrt{98}", r"7\sqrt{2}", 20.0).stopped
    assert check_answer(r"\sqrt{98}", r"7\sqrt{2}", 20.0).equal
    monkeypatch.setattr(Verifier, "timed", stopped)
    assert check_answer(r"\sqrt{98}", r"7\sqrt{2}", 20.0).equal


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_verifier().close()
    checking._compared.cache_clear()
    monkeypatch.setattr(verifier, "require", _missing)
    assert check_answer("5", "6", 1.0).reason == "the numbers differ"
    with pytest.raises(MissingExtraError, match="pip install"):
        check_answer("5", r"\sqrt{25}", 1.0)


def _missing(extra: str, purpose: str) -> None:
    raise MissingExtraError(f'{purpose} needs the extra {extra!r}. Install it: pip install "sdar-gym[{extra}]"')
