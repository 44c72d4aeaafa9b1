"""Readers of hostile texts and damaged files: read, or refused with a clear message."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "robustness" / "hostile_readers.py"


def test_some_rounds_of_every_reader_pass(capsys: pytest.CaptureFixture[str]) -> None:
    if not SCRIPT.exists():
        pytest.skip("the scripts are in the repository only")
    spec = importlib.util.spec_from_file_location("hostile_readers", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["--rounds", "10"]) == 0, capsys.readouterr().out
    told = capsys.readouterr()
    assert told.err == ""
    assert "read or refused with a clear message" in told.out
    fault = script.outcome_of("broken", lambda: {}["nothing"], may_refuse=True)
    assert fault.startswith("broken: KeyError")
