"""Run folders as fixtures, for tests that damage them."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import made_run  # pyright: ignore[reportMissingImports]

from sdar_gym.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two updates done of four, a checkpoint after each."""
    return made_run(tmp_path / "runs")
