"""Escapes: programs that reach for other processes, files, sockets, and for what judges them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from execution_pools import LIMITS, call_test, every_backend, is_namespace, left_over, pool_of, seen, stdin_test

from sdar_gym.envs.code.execution import CodePool, FunctionCall, Job, Status, StdinCall, probe_isolation

SECRET = "a-secret-of-the-trusted-process"


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder everybody may read and write, with a file."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        Path(folder, "secret").write_text(SECRET)
        yield Path(folder)


@every_backend
def test_files_of_the_machine(backend: str, readable: Path) -> None:
    program = f"""
import json, os
def tried(action):
    try: return str(action())
    except OSError as error: return type(error).__name__
paths = ({str(readable / "secret")!r}, "/etc/passwd", "/etc/shadow")
found = {{path: tried(lambda: open(path).read()) for path in paths}}
found["write"] = tried(lambda: open({str(readable / "new")!r}, "w").write("x"))
found["home"] = tried(lambda: sorted(os.listdir(os.path.expanduser("~root"))))
found["up"] = tried(lambda: sorted(os.listdir("..")))
found["proc"] = tried(lambda: os.listdir("/proc"))
print(json.dumps(found))
"""
    found = seen(backend, program)
    secret, write = found[str(readable / "secret")], found["write"]
    if is_namespace(backend):
        assert (secret, found["/etc/passwd"]) == ("FileNotFoundError",) * 2
        assert write in ("FileNotFoundError", "OSError")
        assert found["proc"] == "FileNotFoundError"
        assert "secret" not in found["up"]
        assert not (readable / "new").exists()
        assert set(Path.home().iterdir()) == set() or not set(map(str, os.listdir(Path.home()))) <= set(found["home"])
    else:
        assert not probe_isolation(backend).filesystem
        assert secret == SECRET
    assert found["/etc/shadow"] != "" and "root:" not in found["/etc/shadow"]


@every_backend
def test_writing_outside_of_the_private_folder(backend: str) -> None:
    if not is_namespace(backend) and os.getuid() != 0:
        pytest.skip("at level process, an ordinary user's programs may write where that user may")
    program = """
import json, os, sys
written = []
for folder in ("/", "/usr", "/usr/lib", "/etc", "/dev", "/lib", "/root", os.path.dirname(os.__file__), sys.prefix):
    try:
        open(os.path.join(folder, "written"), "w").close()
        written.append(folder)
    except OSError: pass
for path in (sys.executable, os.__file__, "/etc/ld.so.cache", "/dev/null"):
    for action in (os.unlink, lambda path: os.rename(path, path + "2"), lambda path: os.chmod(path, 0o777)):
        try:
            action(path)
            written.append(path)
        except OSError: pass
print(json.dumps(written))
"""
    assert seen(backend, program) == []
    assert os.path.exists(sys.executable) and os.path.exists(os.__file__)


@every_backend
def test_links_out_of_the_private_folder_are_not_followed(backend: str, readable: Path) -> None:
    program = (
        f"import os\nos.symlink({str(readable)!r}, 'link')\nos.symlink({str(readable / 'secret')!r}, 'file')\n"
        "os.mkdir('d')\nos.symlink('..', 'd/up')\n"
        f"try: os.link({str(readable / 'secret')!r}, 'hard')\nexcept OSError: pass\nprint(1)"
    )
    assert seen(backend, program) == 1
    assert seen(backend, "import json, os\nprint(json.dumps(os.listdir('.')))") == []
    assert (readable / "secret").read_text() == SECRET


@every_backend
def test_environment_and_memory_of_the_pool(backend: str) -> None:
    os.environ["SDAR_TEST_SECRET"] = SECRET
    try:
        program = f"""
import glob, json, os, sys
found = [key for key, value in os.environ.items() if {SECRET!r} in value]
if {is_namespace(backend) or os.getuid() == 0}:
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/mem") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if {SECRET.encode()!r} in file.read(10**6): found.append(path)
        except OSError: pass
print(json.dumps([found, sorted(os.environ), sys.argv]))
"""
        found, names, arguments = seen(backend, program)
    finally:
        del os.environ["SDAR_TEST_SECRET"]
    assert found == []
    assert set(names) <= {"HOME", "LANG", "LC_ALL", "PATH", "PWD", "PYTHONHASHSEED", "TMPDIR", "TZ"}
    assert arguments == ["program.py"]


@every_backend
def test_no_descriptor_is_inherited(backend: str) -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    try:
        program = """
import json, os, stat
found = []
for number in range(4096):
    try: mode = os.fstat(number).st_mode
    except OSError: continue
    found.append((number, stat.S_ISSOCK(mode)))
print(json.dumps(found))
"""
        assert seen(backend, program) == [[0, False], [1, False], [2, False], [3, False]]
    finally:
        os.close(read_end)
        os.close(write_end)


@every_backend
def test_sockets_reach_nothing(backend: str) -> None:
    name = f"\0sdar-test-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(name)
        unix.listen()
        program = f"""
import json, socket
reached = []
for family, address in (
    (socket.AF_INET, {tcp.getsockname()!r}), (socket.AF_UNIX, {name!r}), (socket.AF_INET, ("192.0.2.1", 80)),
    (socket.AF_INET6, ("::1", {tcp.getsockname()[1]})), (socket.AF_VSOCK, (2, 1)), (socket.AF_VSOCK, (1, 1)),
):
    try:
        with socket.socket(family) as connection:
            connection.settimeout(0.2)
            connection.connect(address)
        reached.append([int(family), str(address)])
    except OSError: pass
a, b = socket.socketpair()
a.send(b"x")
print(json.dumps([reached, b.recv(1).decode()]))
"""
        reached, own = seen(backend, program)
        assert own == "x"
        if is_namespace(backend) or probe_isolation(backend).network:
            assert reached == []
            tcp.settimeout(0)
            with pytest.raises(BlockingIOError):
                tcp.accept()


@every_backend
@pytest.mark.parametrize(
    "program",
    [
        "os.kill(-1, 9)",
        "os.kill(os.getppid(), 9)",
        "[os.kill(os.getppid(), n) for n in range(1, 32)]",
        "[tried(os.kill, pid, 9) for pid in range(1, 40000) if pid != os.getpid()]",
        "os.killpg(0, 9)",
        "[tried(signal.pidfd_send_signal, os.pidfd_open(os.getppid()), 9)]",
        "ctypes.CDLL(None).tgkill(os.getppid(), os.getppid(), 9)",
        "ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
    ],
    ids=range(9),
)
def test_attacks_on_other_processes(backend: str, program: str) -> None:
    if backend == "process" and os.getuid() != 0 and not probe_isolation(backend).syscalls:
        pytest.skip("would end this process")
    before = pool_of(backend).statistics()
    head = "import ctypes, os, resource, signal\ndef tried(f, *a):\n    try: f(*a)\n    except OSError: pass\n"
    both = f"if input() == 'a':\n    exec({head + program!r})\nprint(1)"
    first, second = pool_of(backend).run(Job(both, (StdinCall("a"), StdinCall("b")))).tests
    assert first.status in (Status.OK, Status.EXCEPTION, Status.CRASHED)
    assert (second.status, second.stdout) == (Status.OK, "1\n")
    after = pool_of(backend).statistics()
    assert (after.servers_replaced, after.sandboxes_lost) == (before.servers_replaced, before.sandboxes_lost)


@every_backend
def test_rights_cannot_be_gained(backend: str) -> None:
    program = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
gained = []
for name, arguments in {
    "unshare": (0x10000000,), "mount": (b"x", b"/tmp", b"tmpfs", 0, 0), "chroot": (b"/tmp",), "setuid": (0,),
    "setgid": (0,), "sethostname": (b"x", 1), "umount2": (b"/tmp", 2), "setns": (0, 0), "pivot_root": (b".", b"."),
    "swapoff": (b"/",), "reboot": (0,), "acct": (0,), "personality": (0x0040000,), "shmget": (1, 4096, 0o1666),
    "msgget": (1, 0o1666), "semget": (1, 1, 0o1666), "memfd_create": (b"x", 0),
}.items():
    if getattr(libc, name, lambda *_: -1)(*arguments) >= 0: gained.append(name)
for key in range(8):
    if libc.prctl(23, ctypes.c_ulong(key), 0, 0, 0) == 1: gained.append(f"bounding {key}")
assert libc.prctl(39, 0, 0, 0, 0) == 1  # PR_GET_NO_NEW_PRIVS
print(json.dumps([gained, os.getuid(), os.geteuid(), os.getgroups()]))
"""
    gained, uid, effective, groups = seen(backend, program)
    if not is_namespace(backend) and os.getuid() != 0:
        # Only who has rights may bound them; without new privileges the bound means nothing.
        gained = [name for name in gained if not name.startswith("bounding")]
    assert gained == []
    assert uid == effective != 0
    if os.getuid() == 0:
        assert groups == []


@every_backend
def test_a_test_sees_nothing_of_the_one_before(backend: str) -> None:
    program = """
import builtins, json, os, sys, tempfile
def look():
    found = []
    if os.listdir("."): found.append("files")
    if os.environ.get("LEFT"): found.append("environment")
    if hasattr(builtins, "left"): found.append("builtins")
    if sys.getrecursionlimit() == 777: found.append("interpreter")
    try: found += [name for name in os.listxattr(".")]
    except OSError: pass
    return found
if input() == "leave":
    open("file", "w").write("x")
    os.makedirs(".hidden/deep")
    os.environ["LEFT"] = "1"
    builtins.left = 1
    sys.setrecursionlimit(777)
    try: os.setxattr(".", "user.left", b"1")
    except OSError: pass
    os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
    print(json.dumps(look()[:3]))
else:
    print(json.dumps(look()))
"""
    job = Job(program, (StdinCall("leave"), StdinCall("look"), StdinCall("look")))
    first, *others = pool_of(backend).run(job).tests
    assert json.loads(first.stdout) == ["files", "environment", "builtins"]
    assert [test.stdout for test in others] == ["[]\n"] * 2
    assert pool_of(backend).run(Job(program, (StdinCall("look"),))).tests[0].stdout == "[]\n"


@every_backend
def test_nothing_of_later_tests_is_in_memory(backend: str) -> None:
    # Put together at run time, so that the program does not find its own text.
    program = """
import gc, sys
mark = "later-" + "argument"
def holds(thing):
    if isinstance(thing, bytes): return mark.encode() in thing
    return isinstance(thing, str) and thing is not mark and mark in thing
def solve(first):
    frame, found = sys._getframe(), 0
    while frame:
        found += sum(map(holds, list(frame.f_locals.values())))
        frame = frame.f_back
    for thing in gc.get_objects():
        for part in gc.get_referents(thing):
            found += holds(part)
    return found
"""
    calls = (FunctionCall("solve", ("x",)), FunctionCall("solve", ("later-argument",)))
    first, second = pool_of(backend).run(Job(program, calls)).tests
    assert first.value == 0
    assert second.value > 0  # So the search does find what is there.


CHEATS = {
    "a printed verdict": (
        'print(\'{"status": "ok", "value": 42}\')\nprint(\'PASSED\', flush=True)\n1/0',
        ("exception",),
    ),
    "exit": ("import sys\nsys.exit(0)", ("exited",)),
    "hard exit": ("import os\nos._exit(0)", ("exited",)),
    "exit in the function": ("import os\ndef solve(): os._exit(0)", ("exited",)),
    "garbage": ("import os\nos.write(3, b'garbage' * 99)\nos._exit(0)", ("no_result",)),
    "endless garbage": ("import os\nwhile True: os.write(3, b'x' * 4096)", ("output_limit",)),
    "huge length": ("import os\nos.write(3, b'\\xff' * 4)\nos._exit(0)", ("no_result",)),
    "two frames": (
        'import os\ndef solve():\n    os.write(3, b\'\\0\\0\\0\\x1c{"status":"ok", "value": 42}\')\n    return 1',
        ("no_result",),
    ),
    "closed descriptors": ("import os\nos.closerange(0, 100)\ndef solve(): return 42", ("exited",)),
    "patched json": (
        "import json\njson.dumps = lambda *a, **k: 'true'\ndef solve(): return 1",
        ("no_result", "exited"),
    ),
    "patched exit": (
        "import os\nos._exit = lambda code: None\ndef solve(): return 1",
        ("ok", "exited", "crashed", "no_result"),
    ),
    "patched write": ("import os\nos.write = lambda fd, data: len(data)\ndef solve(): return 1", ("exited",)),
    "patched harness": (
        "import sys\nf = sys._getframe()\nwhile f:\n    if '_as_json' in f.f_globals:\n"
        "        f.f_globals['_as_json'] = lambda value: '}'\n    f = f.f_back\ndef solve(): return 1",
        ("no_result",),
    ),
    "broken builtins": (
        "import builtins\nfor n in dir(builtins):\n    if n[0].islower(): setattr(builtins, n, None)\n"
        "def solve(): return 1",
        ("exited", "exception", "no_result", "ok"),
    ),
    "answer of a child": (
        "import os, time\nif os.fork():\n    os._exit(0)\ntime.sleep(0.05)\ndef solve(): return 42",
        ("exited",),
    ),
    "answers of both": ("import os\nos.fork()\ndef solve(): return 42", ("no_result", "ok", "exited")),
    "trace of the harness": (
        "import sys\nsys.settrace(lambda *a: 1 / 0)\nsys.setprofile(lambda *a: os)\ndef solve(): return 1",
        ("exited", "exception", "no_result"),
    ),
    "audit hook": (
        "import sys\nsys.addaudithook(lambda *a: 1 / 0)\ndef solve(): return 1",
        ("exited", "exception", "ok"),
    ),
    "a value that lies": (
        "class A(int):\n    def __eq__(self, other): return True\n    def __repr__(self): return '42'\n"
        "def solve(): return A(1)",
        ("ok",),
    ),
    "a text that lies": (
        "class A(str):\n    def __eq__(self, other): return True\ndef solve(): return A('x')",
        ("ok",),
    ),
    "another main": (
        "import sys\nsys.modules.clear()\ndef solve(): return 1",
        ("ok", "exited", "exception", "no_result"),
    ),
}


@every_backend
@pytest.mark.parametrize("name", CHEATS)
def test_cheats_can_at_most_lose(backend: str, name: str) -> None:
    program, statuses = CHEATS[name]
    result = call_test(backend, program)
    assert result.status in statuses, result
    if name not in ("answers of both",):
        assert result.value in (None, 1, "x")
        assert type(result.value) in (type(None), int, str)


@every_backend
def test_removing_the_folder_around_is_survived(backend: str) -> None:
    program = (
        "import os, shutil\nup = os.path.abspath('..')\nif 'sdar-code-' in up: shutil.rmtree(up, ignore_errors=True)"
    )
    pool = pool_of(backend)
    assert pool.run(Job(program, (StdinCall(), StdinCall()))).all_ok
    assert pool.run(Job("print(1)", (StdinCall(),))).tests[0].stdout == "1\n"


@every_backend
def test_a_child_prints_nothing_after_its_parents_end(backend: str) -> None:
    program = "import os, time\nif os.fork():\n    os._exit(0)\nos.setsid()\ntime.sleep(0.03)\nprint(42, flush=True)"
    for _ in range(3):
        result = stdin_test(backend, program)
        assert (result.status, result.stdout) == (Status.OK, "")
    assert left_over(pool_of(backend)) == []


def test_jobs_beside_each_other_do_not_meet() -> None:
    """Two sandboxes at once, of which one looks for the other's processes and files."""
    for backend in ("namespace", "process"):
        if probe_isolation(backend).level is None or (backend == "process" and os.getuid() != 0):
            continue
        with CodePool(2, backend, LIMITS) as pool:
            import threading

            other = "import time\nopen('mark', 'w').close()\ntime.sleep(0.6)\nprint(1)"
            waiting: list[str] = []
            thread = threading.Thread(
                target=lambda: waiting.append(pool.run(Job(other, (StdinCall(),))).tests[0].stdout)  # noqa: B023
            )
            thread.start()
            program = (
                "import json, os, time\ntime.sleep(0.3)\ntry: os.kill(-1, 9)\nexcept OSError: pass\n"
                "found = []\nfor folder, _, names in os.walk('..'):\n    found += [n for n in names if n == 'mark']\n"
                "print(json.dumps(found))"
            )
            assert pool.run(Job(program, (StdinCall(),))).tests[0].stdout == "[]\n"
            thread.join()
            assert waiting == ["1\n"]
