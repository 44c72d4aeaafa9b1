"""Jobs: what programs are asked, and what is said of what they do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from execution_pools import LIMITS, SHORT, backends, call_test, pool_of, seen, stdin_test

from sdar_gym.envs.code.execution import FunctionCall, Job, Limits, Status, StdinCall
from sdar_gym.envs.code.execution.outcome import outcome


@backends
def test_a_program_reads_and_prints(backend: str) -> None:
    result = stdin_test(backend, "n = int(input())\nprint(sum(map(int, input().split()[:n])), 'é')", "2\n3 4\n")
    assert (result.status, result.stdout, result.value, result.error) == (Status.OK, "7 é\n", None, "")
    assert 0 < result.seconds < 8
    assert 0 < result.cpu_seconds < 4


@backends
def test_a_function_is_called_with_json_values(backend: str) -> None:
    program = "def solve(a, b):\n    a.append(b)\n    print('noise')\n    return a, {'k': (1.5, None, True)}"
    result = call_test(backend, program, [1, "x"], {"n": [2]})
    assert result.status is Status.OK
    assert result.value == [[1, "x", {"n": [2]}], {"k": [1.5, None, True]}]
    assert result.stdout == "noise\n"


@backends
def test_a_method_of_a_class_is_called(backend: str) -> None:
    program = "class Solution:\n    def __init__(self): self.x = 2\n    def solve(self, a):\n        return a * self.x"
    assert call_test(backend, program, 21, entry="Solution.solve").value == 42


@pytest.mark.parametrize(
    ("program", "entry", "status", "message"),
    [
        ("x = 1", "solve", "missing_entry", "the program defines no solve"),
        ("solve = 3", "solve", "missing_entry", "solve is no function"),
        ("class S: pass", "S.solve", "missing_entry", "S.solve is no function"),
        ("S = 3", "S.solve", "missing_entry", "S is no class"),
        ("def solve(): return {1, 2}", "solve", "exception", "is no JSON value: Object of type set"),
        ("def solve(): return {1: 2}", "solve", "exception", "key of type int"),
        ("def solve(): return float('nan')", "solve", "exception", "is no JSON value"),
        ("def solve(): yield 1", "solve", "exception", "generator"),
        ("def solve():\n    a = []\n    a.append(a)\n    return a", "solve", "exception", "Circular reference"),
        ("def solve():\n    a = []\n    for _ in range(9**5): a = [a]\n    return a", "solve", "exception", "nested"),
        ("def solve(): return '\\ud800'", "solve", "exception", "no valid Unicode"),
        ("def solve(): return 10**5000", "solve", "exception", "4300 digits"),
        ("def solve(): raise SystemExit(0)", "solve", "exited", "before it returned"),
        ("def solve(a): pass", "solve", "exception", "missing 1 required positional argument"),
        ("def solve(): return 'x' * 10**6", "solve", "output_limit", "more than 65536 bytes"),
        ("def solve(:", "solve", "syntax_error", "SyntaxError: invalid syntax"),
    ],
)
def test_what_is_no_answer(program: str, entry: str, status: str, message: str) -> None:
    result = call_test("process", program, entry=entry)
    assert (result.status, result.value) == (status, None)
    assert message in result.error


def test_a_traceback_shows_the_programs_frames_alone() -> None:
    program = "import json\n\ndef load(text):\n    return json.loads(text)\n\ndef solve(text):\n    return load(text)\n"
    result = call_test("process", program, "{")
    assert result.error == (
        "Traceback (most recent call last):\n"
        '  File "program.py", line 7, in solve\n'
        "    return load(text)\n"
        '  File "program.py", line 4, in load\n'
        "    return json.loads(text)\n"
        "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )


@backends
def test_messages_show_no_path_of_the_machine(backend: str) -> None:
    result = call_test(backend, "import os, math\ndef solve():\n    from os import nothing\n")
    assert result.status is Status.EXCEPTION
    assert "cannot import name 'nothing'" in result.error
    assert "<python>" in result.error
    assert not any(path in result.error for path in (".py)/", "/root", "/usr", "/home"))


@pytest.mark.parametrize(
    "program",
    [
        "def f(n): return f(n + 1)\nf(0)",
        "raise ValueError('x' * 10**6)",
        "x = 1; raise ValueError(" + "'y', " * 100_000 + ")",
        "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E",
        "raise type('N' * 10**6, (Exception,), {})",
        "def " + "g" * 10_000 + "(): 1/0\n" + "g" * 10_000 + "()",
    ],
)
def test_tracebacks_are_bounded(program: str) -> None:
    result = stdin_test("process", program)
    assert result.status is Status.EXCEPTION
    assert len(result.error) < 8100


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("import sys\nprint(1)\nsys.exit()", "1\n"),
        ("print(1)\nexit()", "1\n"),
        ("import atexit, sys\natexit.register(lambda: print('late'))\nprint('early')", "early\nlate\n"),
        ("import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('t'))).start()", "t\n"),
        ("import os, sys\nprint(os.read(0, os.fstat(0).st_size).decode(), open(0).read())", "in \n"),
        ("import sys\nsys.stdout.write(sys.stdin.readline())\nsys.stdout.flush()\nimport os\nos._exit(0)", "in"),
        ("import io, os, sys\nsys.stdout = io.StringIO()\nprint('lost')\nos.write(1, b'kept')", "kept"),
        ("if __name__ == '__main__':\n    print(__file__)", "program.py\n"),
        (
            "import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x')\nprint(open('a', 'w').write('abc'))",
            "3\n",
        ),
        ("import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))).__name__)", "A\n"),
        ("from multiprocessing import Pipe\na, b = Pipe(False)\nb.send(3)\nprint(a.recv())", "3\n"),
    ],
)
def test_programs_run_as_they_would_alone(program: str, printed: str) -> None:
    result = stdin_test("process", program, "in")
    assert (result.status, result.stdout) == (Status.OK, printed), result


@backends
def test_the_standard_library_can_be_imported_later(backend: str) -> None:
    names = (
        "asyncio csv zlib zoneinfo sqlite3 secrets lzma bz2 unittest logging multiprocessing graphlib uuid xml.etree"
    )
    program = f"import importlib\nfor name in {names!r}.split(): importlib.import_module(name)\nprint(1)"
    assert seen(backend, program) == 1


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("print(1, flush=True)\nimport sys\nsys.exit(3)", "exited"),
        ("import sys\nsys.exit('text')", "exited"),
        ("import os\nos._exit(1)", "exited"),
        ("import os\nos.abort()", "crashed"),
        ("print('\\ud800')", "exception"),
        ("import atexit\natexit.register(lambda: print(1))\n1/0", "exception"),
    ],
)
def test_programs_that_end_badly(program: str, status: str) -> None:
    assert stdin_test("process", program).status == status


@backends
def test_a_job_stops_at_the_first_failure_only_where_it_should(backend: str) -> None:
    pool = pool_of(backend)
    calls = tuple(FunctionCall("solve", (n,)) for n in (2, 0, 1))
    program = "def solve(n):\n    return 6 // n"
    assert [test.value for test in pool.run(Job(program, calls)).tests] == [3, None, 6]
    assert len(pool.run(Job(program, calls, stop_at_first_failure=True)).tests) == 2
    expected = [4, None, 6]
    job = Job(program, calls, stop_at_first_failure=True)
    assert len(pool.run(job, lambda index, test: test.value == expected[index]).tests) == 1


@backends
def test_a_prelude_shares_the_namespace_and_no_line_numbers(backend: str) -> None:
    prelude = "from typing import List\nfrom math import *\n\n\n"
    program = "def solve(a: List[int]):\n    return 1 // (len(a) - int(sqrt(4)))"
    result = pool_of(backend).run(Job(program, (FunctionCall("solve", ([1, 2],)),), prelude=prelude)).tests[0]
    assert '"program.py", line 2' in result.error
    assert "from __future__ import annotations" not in result.error
    future = Job("from __future__ import annotations\ndef solve() -> Nothing: return 1", (FunctionCall("solve"),))
    assert pool_of(backend).run(future).tests[0].value == 1


def test_a_job_has_its_own_time() -> None:
    limits = Limits(**{**vars(SHORT), "job_seconds": 0.6, "wall_seconds": 0.4})
    program = "import time\ntime.sleep(5)"
    result = pool_of("process", limits).run(Job(program, (StdinCall(),) * 4))
    assert [test.status for test in result.tests] == [Status.TIMEOUT] * 4
    assert "before this test" in result.tests[-1].error
    assert result.tests[1].seconds < 0.4


def test_no_tests_is_a_job_too() -> None:
    result = pool_of("process").run(Job("1/0", ()))
    assert result.tests == ()
    assert result.all_ok


@pytest.mark.parametrize(
    "source",
    [
        lambda: Job(3, ()),  # type: ignore[arg-type]
        lambda: Job("", ("x",)),  # type: ignore[arg-type]
        lambda: Job("", 3),  # type: ignore[arg-type]
        lambda: Job("", (), stop_at_first_failure=1),  # type: ignore[arg-type]
        lambda: StdinCall(b"x"),  # type: ignore[arg-type]
        lambda: FunctionCall("a.b.c"),
        lambda: FunctionCall("__import__('os')"),
        lambda: FunctionCall("solve", ({1, 2},)),
        lambda: FunctionCall("solve", (float("inf"),)),
        lambda: Limits(cpu_seconds=0),
        lambda: Limits(memory_bytes=1),
        lambda: Limits(processes=1.5),  # type: ignore[arg-type]
        lambda: Limits(output_bytes=10**12),
    ],
)
def test_wrong_arguments_are_refused(source: Any) -> None:
    with pytest.raises(ValueError):
        source()


def _frame(value: Any) -> bytes:
    payload = value if isinstance(value, bytes) else json.dumps(value).encode()
    return len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    "result",
    [
        b"x",
        b"\xff\xff\xff\xff",
        _frame([1]),
        _frame(b"\xff"),
        _frame({"status": "right", "value": 1}),
        _frame({"status": "timeout"}),
        _frame({"status": ["ok"], "value": 1}),
        _frame({"status": "ok"}),
        _frame({"status": "exception", "error": 3}),
        _frame({"status": "ok", "value": 1}) * 2,
        _frame({"status": "ok", "value": 1})[:-1],
        _frame(b'{"status": "ok", "value": NaN}'),
        _frame(b'{"status": "ok", "value": 1e999}'),
        _frame(b'{"status": "ok", "value": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
        _frame(b'{"status": "ok", "value": ' + b"1" * 5000 + b"}"),
    ],
)
def test_forged_results_are_no_results(result: bytes) -> None:
    head = {"ended": "exit", "code": 0, "seconds": 1e99, "cpu_seconds": "x"}
    read = outcome(FunctionCall("solve"), LIMITS, head, b"", result)
    assert read.status is Status.NO_RESULT
    assert (read.value, read.seconds, read.cpu_seconds) == (None, 0.0, 0.0)


def test_messages_are_cleaned() -> None:
    error = "\x1b[31m\ud800\0" + "x" * 10**6
    head = {"ended": "exit", "code": 1}
    read = outcome(StdinCall(), LIMITS, head, b"\xff", _frame({"status": "exception", "error": error}))
    assert read.status is Status.EXCEPTION
    assert read.stdout == "�"
    assert "\x1b" not in read.error
    assert len(read.error) < 8100
    read.error.encode()
