"""Bounds of untrusted programs: whatever they use up, only they lose, and the next program finds all as it was."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from execution_pools import LIMITS, SHORT, backends, call_test, left_over, need, pool_of, stdin_test

from sdar_gym.envs.code.execution import CodePool, FunctionCall, Job, Limits, Status, StdinCall, TestResult

BOMB = "import zlib\npacked = zlib.compress(bytes(2 * 10**7)); "

# A program, the statuses it may end with, and whether the short limits do.
GREEDY = {
    "output": ("while True: print('x' * 1000)", {"output_limit"}, False),
    "output of a function": ("def solve():\n    while True: print('x' * 1000)", {"output_limit"}, False),
    "output of children": (
        "import os\nfor _ in range(3): os.fork()\nwhile 1: os.write(1, b'x' * 999)",
        {"output_limit"},
        0,
    ),
    "recursion": ("def f(): f()\nf()", {"exception"}, False),
    "recursion without limit": (
        "import sys\nsys.setrecursionlimit(2**31 - 1)\ndef f(n): return [f(n + 1)]\nf(0)",
        {"exception", "memory", "crashed", "timeout"},
        True,
    ),
    "recursion in C": (
        "import sys\nsys.setrecursionlimit(2**31 - 1)\na = []\nfor _ in range(10**6): a = [a]\nrepr(a)",
        {"exception", "memory", "crashed", "timeout"},
        True,
    ),
    "list": ("a = [0] * 10**9", {"memory"}, False),
    "growing list": ("a = []\nwhile True: a.append('x' * 10**6 + str(len(a)))", {"memory"}, False),
    "memory of children": (
        "import os, time\nfor _ in range(7):\n    if os.fork() == 0: break\na = bytearray(60 * 2**20)\n"
        "for i in range(0, len(a), 4096): a[i] = 1\ntime.sleep(5)",
        {"memory"},
        False,
    ),
    "shared memory": (
        "import mmap, os, time\nfor _ in range(7):\n    if os.fork() == 0: break\na = mmap.mmap(-1, 60 * 2**20)\n"
        "for i in range(0, len(a), 4096): a[i] = 1\ntime.sleep(5)",
        {"memory"},
        False,
    ),
    "zip bomb": (BOMB + "b = zlib.decompress(packed) * 9", {"memory"}, False),
    "digits": ("print(len(str(10**10**6)))", {"exception"}, False),
    "power": ("print(9**9**9 % 7)", {"timeout", "memory", "exception"}, True),
    "loop": ("while True: pass", {"timeout"}, True),
    "loop in C": ("import re\nre.match('(a*)*b', 'a' * 40)", {"timeout"}, True),
    "deaf loop": (
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        {"timeout"},
        True,
    ),
    "sleep": ("import time\ntime.sleep(10**6)", {"timeout"}, True),
    "reading a pipe": ("import os\nr, w = os.pipe()\nos.read(r, 1)", {"timeout"}, True),
    "stop": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", {"timeout"}, True),
    "threads": (
        "import threading, time\nfor _ in range(10**5): threading.Thread(target=time.sleep, args=(9,)).start()",
        {"exception", "timeout"},
        True,
    ),
    "fork": ("import os\nwhile True: os.fork()", {"exited", "exception", "timeout", "crashed"}, True),
    "patient fork": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        {"timeout", "crashed"},
        True,
    ),
    "file": ("f = open('f', 'wb')\nwhile True: f.write(bytes(10**6)); f.flush()", {"exception"}, False),
    "descriptors": ("a = [open('/dev/null') for _ in range(10**5)]", {"exception"}, False),
    "atexit": ("import atexit, time\natexit.register(time.sleep, 99)", {"timeout"}, True),
    "text of an exception": (
        "class E(Exception):\n    def __str__(self):\n        while 1: pass\nraise E",
        {"timeout"},
        True,
    ),
    "finalizer": ("class A:\n    def __del__(self):\n        while 1: pass\nA()", {"timeout"}, True),
}


@functools.cache
def greedy_results(backend: str) -> dict[str, TestResult]:
    """All of them beside each other: most of their time they wait for their end."""
    need(backend)
    with ExitStack() as stack:
        pools = {limits: stack.enter_context(CodePool(6, backend, limits)) for limits in (LIMITS, SHORT)}
        threads = stack.enter_context(ThreadPoolExecutor(6))

        def run(name: str) -> TestResult:
            program, _, short = GREEDY[name]
            call = FunctionCall("solve") if "def solve" in program else StdinCall()
            return pools[SHORT if short else LIMITS].run(Job(program, (call,))).tests[0]

        results = dict(zip(GREEDY, threads.map(run, GREEDY), strict=True))
        for pool in pools.values():
            assert left_over(pool) == []
            statistics = pool.statistics()
            assert statistics.sandboxes_lost == statistics.servers_replaced == statistics.jobs_retried == 0
        # Short limits are too short for this machine's busy moments.
        assert pools[LIMITS].run(Job("print(1)", (StdinCall(),))).tests[0].stdout == "1\n"
        return results


@backends
@pytest.mark.parametrize("name", GREEDY)
def test_a_greedy_program_loses_and_nothing_else(backend: str, name: str) -> None:
    _, statuses, short = GREEDY[name]
    result = greedy_results(backend)[name]
    assert result.status in statuses, result
    assert len(result.stdout) <= LIMITS.output_bytes
    assert result.seconds < (5 if short else 30)


@backends
def test_many_files_are_bounded_and_gone(backend: str) -> None:
    program = (
        "import os\nos.makedirs('/'.join(['d' * 200] * 15))\nd = os.getcwd()\n"
        "for _ in range(300):\n    os.mkdir('deep'); os.chdir('deep')\n"
        "os.chdir(d)\nos.symlink('/', 'link')\nos.mkfifo('fifo')\n"
        "for i in range(2000):\n    try: open(f'f{i}', 'w').close()\n    except OSError: break\n"
        "os.mkdir('shut'); open('shut/x', 'w').close(); os.chmod('shut', 0)\n"
        "try: os.chmod('.', 0)\nexcept PermissionError: pass\nprint('done')"
    )
    look = "import os\nprint(os.listdir('.'), oct(os.stat('.').st_mode & 0o700))"
    tests = (StdinCall("a"), StdinCall("b"))
    both = f"if input() == 'a':\n    exec({program!r})\nelse:\n    exec({look!r})"
    first, second = pool_of(backend).run(Job(both, tests)).tests
    assert first.status is Status.OK or "No space" in first.error, first
    assert second.stdout == "[] 0o700\n"


@backends
def test_limits_cannot_be_raised(backend: str) -> None:
    program = (
        "import resource\n"
        "for n in ('AS', 'CPU', 'FSIZE', 'NPROC', 'NOFILE', 'CORE'):\n"
        "    n = getattr(resource, 'RLIMIT_' + n)\n"
        "    s, h = resource.getrlimit(n)\n"
        "    assert h != resource.RLIM_INFINITY\n"
        "    for new in ((h, h + 1), (-1, -1)):\n"
        "        try: resource.setrlimit(n, new)\n"
        "        except (ValueError, OSError): continue\n"
        "        raise SystemExit(9)\n"
        "a = []\nwhile True: a.append(bytearray(10**6))\n"
    )
    assert stdin_test(backend, program).status is Status.MEMORY


@backends
def test_stopped_and_deaf_descendants_end(backend: str) -> None:
    program = (
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    for n in range(1, 32):\n"
        "        try: signal.signal(n, signal.SIG_IGN)\n"
        "        except OSError: pass\n"
        "    if os.fork() == 0:\n"
        "        os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    while True:\n"
        "        os.write(os.open('late', os.O_CREAT | os.O_WRONLY), b'x'); time.sleep(0.001)\n"
        "while not os.path.exists('late'): time.sleep(0.001)\n"
        "print(sorted(os.listdir('.')))"
    )
    again = "import os, time\ntime.sleep(0.05)\nprint(os.listdir('.'))"
    both = f"exec({program!r} if input() == 'a' else {again!r})"
    first, second = pool_of(backend).run(Job(both, (StdinCall("a"), StdinCall("b")))).tests
    assert first.stdout == "['late']\n"
    assert second.stdout == "[]\n"
    assert left_over(pool_of(backend)) == []


@pytest.mark.parametrize(
    "program",
    [
        "\0",
        "x = 1\0",
        "\ud800",
        "x = '\udcff'",
        "# -*- coding: no-such-coding -*-\nx = (",
        "(" * 5000 + ")" * 5000,
        "[" * 100_000,
        "-" * 100_000 + "1",
        "x = " + "1 + " * 100_000 + "1)",
        "x = " + "9" * 100_000,
        "if 1:\n" + "".join(" " * n + "if 1:\n" for n in range(1, 200)),
        "f'" + "{" * 999 + "'",
        "\ufeff\ufeffx",
        "return 3",
        "nonlocal x",
        "\t if 1:\n  x",
        "'" + "x" * 10**6,
        "\x1a\x0c\x0b)",
    ],
    ids=range(18),
)
def test_sources_that_are_no_programs(program: str) -> None:
    result = stdin_test("process", program)
    assert result.status is Status.SYNTAX_ERROR, result
    assert "SyntaxError" in result.error or "IndentationError" in result.error or "TabError" in result.error
    assert len(result.error) < 8100
    result.error.encode()


@pytest.mark.parametrize(
    "program",
    [
        "x = '" + "x" * 10**6 + "'\nprint(1)",
        "\n".join(f"if 3 is 3: x{n} = '\\d'" for n in range(3000)) + "\nprint(1)",
        "# -*- coding: latin-1 -*-\n# \xff\nprint(1)",
        "\ufeffprint(1)",
        "print(1)\r\n\r\n",
        "import warnings\nfor _ in range(9000): warnings.warn(str(_))\nprint(1)",
    ],
    ids=range(6),
)
def test_sources_that_are_unusual_programs(program: str) -> None:
    result = stdin_test("process", program)
    assert (result.status, result.stdout) == (Status.OK, "1\n"), result


@backends
def test_a_crash_is_a_crash(backend: str) -> None:
    result = stdin_test(backend, "import ctypes\nprint(1, flush=True)\nctypes.string_at(1)")
    assert (result.status, result.stdout) == (Status.CRASHED, "1\n")
    assert "SIGSEGV" in result.error
    assert call_test(backend, "import os\ndef solve(): os.kill(os.getpid(), 9)").status is Status.CRASHED


def test_a_program_that_needs_all_its_memory_gets_it() -> None:
    limits = Limits(memory_bytes=256 * 2**20)
    result = stdin_test("process", "a = bytearray(200 * 2**20)\nprint(len(a))", limits=limits)
    assert result.stdout == f"{200 * 2**20}\n"
