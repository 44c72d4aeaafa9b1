"""Malformed command lines: one error message each, before any work begins."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "robustness" / "command_lines.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("the scripts are in the repository only")
    spec = spec_from_file_location("command_lines", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "command_lines", module)
    spec.loader.exec_module(module)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    return module


def test_the_lines_cover_all_settings_and_commands(script: ModuleType, tmp_path: Path) -> None:
    lines = script.lines(tmp_path)
    assert len(lines) == len(set(lines)) >= 600
    settings = {part.partition("=")[0] for line in lines for part in line[1:]}
    assert {name for name, kind in script.settings() if kind in (int, float, bool)} <= settings
    commands = {"train", "eval", "play", "new-env", "warmstart", "index", "serve-search", "baselines", "data", "skills"}
    assert commands | {"methods"} <= {line[0] for line in lines}


def test_a_sample_is_answered_well(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What is refused by the form of the configuration: no model is loaded for it.
    quick = [line for line in script.lines(tmp_path) if line[0] == "train" and "env_config" not in line[-1]]
    outcomes = [script.run_line(line) for line in quick[1::12]]
    assert len(outcomes) > 30
    assert not [outcome for outcome in outcomes if outcome.fault]


def test_a_line_that_makes_sense_is_told_from_the_others(script: ModuleType) -> None:
    assert script.run_line(("envs",)).fault == "ended with 0"
    assert script.run_line(("warmstart", "out", "--steps", "1", "--no-measure")).fault == "accepted: work began"
    fault_of = script._fault
    assert fault_of(("x",), 2, "error: a\n", 1.0) == ""
    assert fault_of(("x",), 2, "error: a\nerror: b\n", 1.0) == "not one message"
    assert fault_of(("x",), 2, "error: a\nmore\n", 1.0) == "not one message"
    assert fault_of(("x",), 1, "Traceback (most recent call last)\n", 1.0) == "a traceback"
    assert fault_of(("x",), 2, "error: a\x1b[2J", 1.0) == "control characters"
    assert fault_of(("x",), 2, "error: a", 11.0) == "took 11 s"


@pytest.mark.slow
def test_every_line_is_answered_well(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([]) == 0, capsys.readouterr().out
