"""Fuzz: random, malformed and hostile programs in any order leave no process, file or descriptor, and no memory."""

from __future__ import annotations

import gc
import glob
import os
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from execution_pools import MEBIBYTE, in_own_process, need, own_descriptors
from test_execution_bounds import GREEDY
from test_execution_escapes import CHEATS

from sdar_gym.envs.code.execution import CodePool, FunctionCall, Job, Limits, StdinCall, TestResult
from sdar_gym.envs.code.execution.sandbox import processes
from sdar_gym.envs.code.execution.sandbox.fork_server import _FIRST_USER

LIMITS = Limits(
    cpu_seconds=0.15,
    wall_seconds=0.25,
    job_seconds=10,
    memory_bytes=64 * MEBIBYTE,
    file_bytes=MEBIBYTE,
    processes=8,
    output_bytes=16384,
)
VALID = [
    "import sys\nn = int(input())\nprint(sum(int(x) for x in input().split()[:n]))\n",
    "from collections import deque\ndef solve(a):\n    q = deque(a)\n    while q: x = q.pop()\n    return [a, {}]\n",
    "class Solution:\n    def solve(self, a):\n        return sorted(a, key=lambda x: -x)[: 3]\n",
    "import heapq\ndef f(n):\n    return 1 if n < 2 else n * f(n - 1)\nprint(f(20), file=open('x', 'w'))\n",
    "try:\n    with open('/etc/passwd') as f: print(f.read())\nexcept OSError as e:\n    raise ValueError from e\n",
]
WORDS = """
    def class return yield lambda if else elif while for in is not and or try except finally with as import from
    global del pass break continue raise assert async await None True False print input open exec eval os sys self
    solve x y z 0 1 -1 1e400 0xFF 'a' "b" f'{x}' b'\\x00' ( ) [ ] { } : , . ; = == != < > <= >= + - * / // % ** @
    & | ^ ~ << >> := -> ... # \\ $ ? ! é
"""
TOKENS = [*WORDS.split(), "\n", "\n  ", "\n    ", "\t", "\0", "\ud800", "\u202e"]
HOSTILE = [program for program, _, _ in GREEDY.values()] + [program for program, _ in CHEATS.values()]


def random_program(rng: random.Random) -> str:
    """A program of a random kind."""
    kind = rng.random()
    if kind < 0.25:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(200))).decode(
            rng.choice(["latin-1", "utf-8"]), "surrogateescape"
        )
    if kind < 0.6:
        return _mutated(rng, rng.choice(VALID))
    if kind < 0.8:
        return " ".join(rng.choice(TOKENS) for _ in range(rng.randrange(1, 80)))
    if kind < 0.92:
        return rng.choice(VALID)
    first, second = rng.choice(HOSTILE), rng.choice(HOSTILE)
    return rng.choice(
        [first, _mutated(rng, first), f"{first}\n{second}", f"try:\n    exec({first!r})\nfinally:\n    {second!r}"]
    )


def _mutated(rng: random.Random, program: str) -> str:
    characters = list(program)
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(characters) + 1)
        action = rng.randrange(4)
        if action == 0:
            characters[place:place] = rng.choice(TOKENS)
        elif action == 1:
            del characters[place : place + rng.randrange(1, 8)]
        elif action == 2:
            characters[place : place + 1] = [chr(rng.choice([0, 9, 10, 32, 58, 0x41, 0xE9, 0xDC80, 0x1F600]))]
        else:
            other = rng.randrange(len(characters) + 1)
            characters[place:place] = characters[min(place, other) : max(place, other)][:50]
        if not characters:
            break
    return "".join(characters)


def check(result: TestResult) -> None:
    """A result that is safe to keep and to show."""
    assert len(result.stdout) <= LIMITS.output_bytes
    assert len(result.error) <= 8100
    result.stdout.encode()
    result.error.encode()
    if result.status != "ok":
        assert result.value is None
        assert result.error
    assert 0 <= result.seconds < 10


def fuzz(backend: str, count: int, seed: int) -> None:
    """Runs random programs, and counts what is there before and after."""
    calls = (StdinCall("2\n3 4\n"), FunctionCall("solve", ([3, 1, 2],)), FunctionCall("Solution.solve", ([3, 1],)))
    with CodePool(2, backend, LIMITS) as code_pool, ThreadPoolExecutor(2) as threads:
        server = code_pool._state.current
        assert server is not None

        def run(number: int) -> None:
            one = random.Random(f"{seed} {number}")
            for test in code_pool.run(Job(random_program(one), (one.choice(calls), one.choice(calls)))).tests:
                check(test)

        def state() -> tuple[int, int, set[int]]:
            return own_descriptors(), len(os.listdir(f"/proc/{server.pid}/fd")), set(processes.descendants(os.getpid()))

        def settled() -> tuple[int, int, set[int]]:
            """The state once the server has collected its sandboxes: it does so soon after they are gone."""
            deadline, last = time.monotonic() + 10, None
            while (now := state()) != last or processes.descendants(server.pid):
                assert time.monotonic() < deadline, (last, now, processes.descendants(server.pid))
                last = now
                time.sleep(0.1)
            return now

        def run_all(numbers: range) -> None:
            # No future a program: ten thousand of them would be what takes memory.
            list(threads.map(lambda part: [run(number) for number in part] and None, (numbers[::2], numbers[1::2])))

        run_all(range(min(count, 100)))
        gc.collect()
        before, memory = settled(), processes.resident_bytes(os.getpid())
        server_memory = processes.resident_bytes(server.pid)
        run_all(range(100, 100 + count))
        gc.collect()
        after = settled()
        assert after[:2] == before[:2]
        assert {pid for pid in after[2] - before[2] if _runs(pid)} == set()
        assert _of_programs(tempfile.gettempdir()) == []
        assert not [name for name in os.listdir(server.folder) if name not in ("root", "errors")]
        assert processes.resident_bytes(os.getpid()) - memory < 16 * MEBIBYTE
        assert processes.resident_bytes(server.pid) - server_memory < 4 * MEBIBYTE
        statistics = code_pool.statistics()
        assert statistics.jobs == count + min(count, 100)
        assert statistics.servers_replaced == statistics.jobs_failed == 0
        print(backend, statistics)


def _of_programs(folder: str) -> list[str]:
    """Files of users that only programs have, but for those of other processes' servers, which test now too."""
    own = os.path.join(folder, f"sdar-code-{os.getpid()}-*")
    paths = glob.glob(os.path.join(folder, "*")) + glob.glob(os.path.join(own, "*"))
    return [path for path in paths if os.path.lexists(path) and os.lstat(path).st_uid >= _FIRST_USER]


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_few_random_programs_leave_nothing() -> None:
    need("namespace")
    in_own_process("test_execution_fuzz", "fuzz", "namespace", 40, 1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ten_thousand_random_programs_leave_nothing() -> None:
    need("namespace")
    in_own_process("test_execution_fuzz", "fuzz", "namespace", 10_000, 2)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("backend", "count"), [("process", 1000), ("bubblewrap", 300)])
def test_random_programs_leave_nothing_at_the_other_backends(backend: str, count: int) -> None:
    need(backend)
    in_own_process("test_execution_fuzz", "fuzz", backend, count, 3)
