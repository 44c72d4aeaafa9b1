"""The first thing in the README runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sdar_gym

README = Path(sdar_gym.__file__).parents[1] / "README.md"


def test_the_first_example_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALFWORLD_DATA", "SDAR_GYM_DATA"):
        monkeypatch.delenv(name, raising=False)
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    code = found[1]
    assert "gymnasium.make(" in code
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    shown = capsys.readouterr().out
    assert re.search(r"(not )?won after \d+ turns", shown.splitlines()[-1])
    assert len(shown.splitlines()) > 1
