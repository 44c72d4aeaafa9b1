"""Checkpoints of an optimizer that learners share: a file for each, read one after the other, all or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import made_state  # pyright: ignore[reportMissingImports]

from sdar_gym.runs.checkpoint import (
    PARTS_FORMAT,
    CheckpointError,
    read_manifest,
    read_state,
    verify_checkpoint,
    write_checkpoint,
)
from sdar_gym.training.sharded_adamw import BY_NAME, COUNT, RANKS


def part(rank: int) -> dict[str, Any]:
    moments = {"step": 2.0, "exp_avg": torch.full((3,), float(rank)), "exp_avg_sq": torch.ones(3)}
    return {BY_NAME: {f"model.layers.{rank}.weight": moments}, RANKS: [rank], COUNT: 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of two learners, whose parts are fetched only when the one before is written."""
    place, fetched = tmp_path / "checkpoint", []
    place.mkdir()

    def fetch(rank: int) -> dict[str, Any]:
        assert len([*place.glob("optimizer-*")]) == rank
        fetched.append(rank)
        return part(rank)

    state = made_state(2)
    learner = state["learner_group"]["learner"]
    del learner["optimizer"]
    learner["optimizer_parts"] = [lambda rank=rank: fetch(rank) for rank in (0, 1)]
    write_checkpoint(place, state, run="r", settings={}, panel="p")
    assert fetched == [0, 1]
    return place


def test_each_learner_s_part_is_a_file_with_tensors_by_name(folder: Path) -> None:
    manifest = verify_checkpoint(folder)
    assert {"optimizer-1-of-2.safetensors", "optimizer-2-of-2.safetensors"} <= set(manifest.files)
    assert "optimizer.safetensors" not in manifest.files
    learner = read_state(folder, manifest)["learner_group"]["learner"]
    assert "optimizer" not in learner
    for rank, read in enumerate(learner["optimizer_parts"]):
        [(name, moments)] = read()[BY_NAME].items()
        assert name == f"model.layers.{rank}.weight"
        assert torch.equal(moments["exp_avg"], torch.full((3,), float(rank)))
        assert read()[RANKS] == [rank] and read()[COUNT] == 2


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "optimizer-2-of-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"incomplete: 'optimizer-2-of-2\.safetensors' is missing"):
        verify_checkpoint(folder)


def test_earlier_versions_refuse_it_rather_than_start_with_new_moments(folder: Path, tmp_path: Path) -> None:
    assert json.loads((folder / "manifest.json").read_text())["format"] == PARTS_FORMAT
    plain = tmp_path / "plain"
    plain.mkdir()
    write_checkpoint(plain, made_state(2), run="r", settings={}, panel="p")
    assert json.loads((plain / "manifest.json").read_text())["format"] < PARTS_FORMAT
    assert read_manifest(plain).update == 2
