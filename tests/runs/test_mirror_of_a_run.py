"""A run whose machine is lost goes on from its mirror."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_train_and_resume import assert_same_end, config, resume  # pyright: ignore[reportMissingImports]

from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.mirror import fetch_run
from sdar_gym.runs.train import Progress, train

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


class MachineLostError(Exception):
    """Ends a run as it is."""


def test_a_run_whose_machine_is_lost_goes_on_from_its_mirror_bit_for_bit(tmp_path: Path) -> None:
    store = f"file://{tmp_path}/store"

    def lose(progress: Progress) -> None:
        if progress.update == 2:
            raise MachineLostError

    straight, summary = train(config(tmp_path / "straight", "training.iterations=3"))
    with pytest.raises(MachineLostError):
        train(config(tmp_path / "lost", "training.iterations=3", f"mirror={store}"), report=lose)
    shutil.rmtree(tmp_path / "lost")
    back = fetch_run(f"{store}/quickstart-sdar", str(tmp_path / "new"))
    assert resume(back)["after"] == summary["after"]
    assert_same_end(straight, RunFolder(back))
    # The end is copied too.
    assert json.loads((tmp_path / "store" / "quickstart-sdar" / "summary.json").read_text())["updates"] == 3
