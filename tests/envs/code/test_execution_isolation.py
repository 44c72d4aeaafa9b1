"""Isolation: what is reported holds, and what is missing is said, also on systems that forbid it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from execution_pools import BACKENDS

from sdar_gym.envs.code.execution import (
    CodePool,
    Isolation,
    IsolationUnavailableError,
    Job,
    StdinCall,
    isolation,
    probe_isolation,
)

PACKAGE = str(Path(__file__).resolve().parents[3])
UNPRIVILEGED = 65534


def test_the_best_level_is_taken() -> None:
    reports = {backend: probe_isolation(backend) for backend in BACKENDS}
    best = next(report for report in reports.values() if report.level is not None)
    assert probe_isolation("auto").backend == best.backend
    with CodePool(1) as code_pool:
        assert code_pool.isolation.backend == best.backend
    for backend, report in reports.items():
        if report.level is Isolation.NAMESPACE:
            assert report.network and report.filesystem and report.processes and report.syscalls
            assert backend in report.line()
        elif report.level is Isolation.PROCESS:
            assert not report.filesystem
            assert "filesystem" in report.reasons
        else:
            assert report.reasons[backend]
            assert report.reasons[backend] in report.line()


@pytest.mark.parametrize("wrong", ["none", "", None, "Namespace"])
def test_unknown_choices_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="isolation must be one of auto, strict"):
        CodePool(1, wrong)  # type: ignore[arg-type]


def test_bubblewrap_that_is_absent_or_broken_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    probe = isolation._probe
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install bubblewrap" in probe("bubblewrap").reasons["bubblewrap"]
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho setting up uid map: Permission denied >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    report = probe("bubblewrap")
    assert report.level is None
    assert "setting up uid map: Permission denied" in report.reasons["bubblewrap"]


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(isolation, "_known", {})
    with pytest.raises(IsolationUnavailableError, match="run on Linux only, this is darwin"):
        CodePool(1)


# A system that forbids namespaces, filters and mounts: the filter for programs, around the pool itself.
FORBIDDEN = """
import os, sys
from sdar_gym.envs.code.execution import CodePool, IsolationUnavailableError, Job, StdinCall, probe_isolation
from sdar_gym.envs.code.execution.sandbox import syscall_filter, syscalls
syscalls.no_new_privileges()
forbidden = dict(syscall_filter._REFUSED)
forbidden.pop("socket")
syscall_filter._REFUSED.clear()
syscall_filter._REFUSED.update(forbidden)
syscalls.install_filter(syscall_filter.syscall_filter(0, alone=True))
for choice in ("strict", "namespace"):
    try: CodePool(1, choice)
    except IsolationUnavailableError as error: print(str(error).replace(chr(10), "<newline>"))
with CodePool(1) as pool:
    result = pool.run(Job("import os\\nprint(input())", (StdinCall("x"),))).tests[0]
    print(pool.isolation.backend, pool.isolation.level, result.status, result.stdout.strip())
"""


@pytest.mark.skipif(probe_isolation("namespace").level is None, reason="namespaces do not work here anyway")
def test_strict_refuses_where_the_system_forbids_namespaces() -> None:
    done = _python(FORBIDDEN)
    strict, namespace, auto = done.stdout.splitlines()
    assert strict.startswith("isolation=strict is not available here: namespace: ")
    assert "user namespaces: Operation not permitted" in namespace
    assert "bubblewrap: " in strict
    assert "isolation=process" in strict
    assert auto == "process process ok x"


UNPRIVILEGED_POOL = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from sdar_gym.envs.code.execution import CodePool, FunctionCall, Job, StdinCall, probe_isolation
for backend in ("namespace", "bubblewrap", "process"):
    report = probe_isolation(backend)
    if report.level is None:
        print(json.dumps([backend, report.reasons]))
        continue
    with CodePool(2, backend) as pool:
        programs = ["import os\\nprint(os.getpid())", "import os\\nos.kill(-1, 9)\\nprint(1)",
                    "import os\\nos.kill(os.getppid(), 9)\\nprint(1)", "import os\\nwhile True: os.fork()",
                    "a = [0] * 10**9", "import csv, zlib\\nprint(1)"]
        results = [pool.run(Job(program, (StdinCall(),))).tests[0].status for program in programs]
        print(json.dumps([backend, results, vars(pool.statistics())["sandboxes_lost"]]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else; otherwise all tests run so")
def test_an_ordinary_user_gets_the_same() -> None:
    python = next(
        (
            path
            for name in ("python3", "python3.11")
            for path in [shutil.which(name, path="/usr/local/bin:/usr/bin")]
            if path
        ),
        None,
    )
    if python is None or not _same_version(python):
        pytest.skip("no Python of this version that everybody can read")
    paths = [PACKAGE, *(path for path in sys.path if path.endswith("site-packages"))]
    done = subprocess.run(
        [python, "-B", "-c", UNPRIVILEGED_POOL, json.dumps(paths)],
        user=UNPRIVILEGED,
        group=UNPRIVILEGED,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "ModuleNotFoundError" in done.stderr or "Permission" in done.stderr:
        pytest.skip("another user cannot read the installed packages")
    assert done.returncode == 0, done.stderr
    _check_pools(done.stdout)


def test_root_of_a_namespace_gets_the_same() -> None:
    """As in a container that maps one user alone."""
    mapped = [shutil.which("unshare") or "unshare", "--user", "--map-root-user"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*mapped, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no user namespace can be made")
    command = [*mapped, sys.executable, "-c", UNPRIVILEGED_POOL, json.dumps([PACKAGE])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    _check_pools(done.stdout)


def _check_pools(printed: str) -> None:
    for line in printed.splitlines():
        backend, results, *lost = json.loads(line)
        if isinstance(results, dict):
            assert probe_isolation(backend).level is None, results
            continue
        assert results[0] == results[5] == "ok"
        assert set(results[1:3]) <= {"ok", "exception"}
        assert results[3] in ("exited", "exception", "crashed", "timeout")
        assert results[4] == "memory"
        assert lost == [0]


def test_files_of_a_sandbox_are_few() -> None:
    report = probe_isolation("strict")
    if report.level is None:
        pytest.skip(report.line())
    program = (
        "import json, os\nfound = []\nfor folder, _, names in os.walk('/'):\n"
        "    found += [os.path.join(folder, name) for name in names]\nprint(json.dumps(found))"
    )
    with CodePool(1, "strict") as code_pool:
        result = code_pool.run(Job(program, (StdinCall(),))).tests[0]
    assert result.status == "ok", result
    found = json.loads(result.stdout)
    assert not [path for path in found if "site-packages/" in path or "dist-packages/" in path]
    assert not [path for path in found if path.startswith(("/etc/", "/home/", "/var/", "/proc/", "/sys/"))][1:]
    assert len([path for path in found if path.startswith("/dev/")]) <= 4


def _python(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([PACKAGE, *(path for path in sys.path if path)])}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )


def _same_version(python: str) -> bool:
    code = "import sys; print(sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout == (
        f"{sys.version_info[:2]}\n"
    )
