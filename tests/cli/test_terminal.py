"""Terminal output: untrusted text is escaped, on any console and in any pipe."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.panel import Panel
from rich.progress import Progress
from rich.text import Text

from sdar_gym.cli import terminal as module
from sdar_gym.cli.terminal import Column, Terminal, explained, one_line, own_warnings_only, table, tell_error
from sdar_gym.skills import SkillCoverageWarning

ESCAPES = "a\x1b]0;title\x07 \x1b[2J \x9b1m \u202e [red]b[/red] [/x] :smile: \x08c"
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
PROGRAM = (sys.executable, "-m", "sdar_gym")


def run(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, *arguments], input=typed.encode(), capture_output=True, env=os.environ | environment, timeout=120
    )


@pytest.mark.parametrize(
    "print_it",
    [
        lambda terminal: terminal.print(ESCAPES),
        lambda terminal: terminal.tell(ESCAPES),
        lambda terminal: terminal.print(Text(ESCAPES, "bold")),
        lambda terminal: terminal.print(Panel(ESCAPES, title=Text(ESCAPES))),
        lambda terminal: terminal.print(table((ESCAPES, "b"), [(ESCAPES, Text(ESCAPES))], title=ESCAPES)),
    ],
)
def test_nothing_foreign_acts_on_the_terminal(print_it: Any, capsys: pytest.CaptureFixture[str]) -> None:
    print_it(Terminal())
    printed = capsys.readouterr().out
    assert not HARMFUL.search(printed)
    assert "\\x1b" in printed and "\\x9b" in printed and "\\u202e" in printed
    assert "[red]" in printed and "[/x]" in printed and ":smile:" in printed


def test_progress_and_errors_show_foreign_text_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with Progress(Column("{task.description}"), Column("{task.fields[state]}"), console=Terminal()) as bar:
        bar.add_task(ESCAPES, state=ESCAPES, total=1)
    tell_error(ESCAPES + "\nsecond\r\nthird")
    printed = capsys.readouterr()
    assert "[/x]" in printed.out and not HARMFUL.search(printed.out)
    assert printed.err.startswith("error: a\\x1b]0;title") and printed.err.endswith("second third\n")
    assert not HARMFUL.search(printed.err)


def test_a_table_is_as_wide_as_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().print(table(("a", "b"), [("\x1b\x1b", "x"), ("yy", "x")]))
    header, first, second = capsys.readouterr().out.splitlines()
    assert first.index("x", 8) == second.index("x") == header.index("b")


def test_errors_of_the_system_are_said_in_words() -> None:
    assert explained(OSError(28, "No space left on device", "/x/y")) == "No space left on device: /x/y"
    assert explained(RecursionError("maximum recursion depth")) == "The input is nested too deeply."
    assert explained(ValueError("bad")) == "bad" and explained(ValueError()) == "ValueError"
    assert one_line("a\n\n  b\x1b") == "a b\\x1b"
    assert len(one_line("x" * 10**6)) < 1600


def test_only_the_gyms_own_warnings_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with own_warnings_only():
            warnings.warn("of a library", FutureWarning, stacklevel=1)
            warnings.warn("few skills \x1b[2J", SkillCoverageWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: few skills \\x1b[2J\n"
    monkeypatch.setattr(sys, "warnoptions", ["always"])
    with pytest.warns(FutureWarning), own_warnings_only():
        warnings.warn("asked for", FutureWarning, stacklevel=1)


def test_symbols_have_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, shown in (("utf-8", "✓"), ("cp1252", "ok"), ("ascii", "ok"), ("no-such-encoding", "ok")):
        monkeypatch.setattr(sys, "stdout", type("Stream", (io.StringIO,), {"encoding": encoding})())
        assert module.symbol("✓", "ok") == shown


ALL = (
    ("doctor",),
    ("envs",),
    ("methods", "list"),
    ("methods", "show", "rlsd"),
    ("skills", "list", "searchqa"),
    ("skills", "search", "alfworld", "hot"),
    ("data", "list"),
    ("train", "--help"),
)
EACH = """
import sys
from sdar_gym.cli import main
for arguments in {commands!r}:
    sys.argv = ["sdar-gym", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, (arguments, ended.code)
print(sorted(set(sys.modules) & set({heavy!r})), file=sys.stderr)
"""


def each(commands: Sequence[tuple[str, ...]], heavy: Sequence[str] = (), **environment: str) -> bytes:
    """Runs commands one after another in one process of its own; what it wrote on stderr."""
    code = EACH.format(commands=list(commands), heavy=list(heavy))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ | environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "cp437", "cp932"])
def test_no_letter_ends_a_command(encoding: str) -> None:
    assert each(ALL, PYTHONIOENCODING=encoding) == b"[]\n"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_no_letter_ends_a_game_or_hides_an_error(encoding: str) -> None:
    done = run("play", "sdar/SearchQA-v0", typed="<search>λ ✓</search>\n", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    done = run("play", "sdar/Ωmega-v0", PYTHONIOENCODING=encoding)
    assert done.returncode == 2 and done.stderr.startswith(b"error: No environment 'sdar/")


def test_a_reader_who_leaves_is_no_error() -> None:
    command = " ".join([*PROGRAM, "methods", "list"])
    done = subprocess.run(["sh", "-c", f"{command} | true"], capture_output=True, timeout=60)
    assert done.stderr == b""
    # Nobody reads from the beginning.
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [*PROGRAM, "skills", "list", "alfworld"], stdout=closed, stderr=subprocess.PIPE, timeout=60
        )
    assert done.stderr == b"" and done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_message() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROGRAM, "envs"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2
    assert done.stderr == b"error: No space left on device\n"


def test_what_only_looks_loads_no_training_stack() -> None:
    heavy = ("torch", "ray", "transformers", "yaml", "matplotlib", "bm25s")
    assert each([("doctor",), ("methods", "list"), ("methods", "show", "sdar"), ("envs",)], heavy) == b"[]\n"
