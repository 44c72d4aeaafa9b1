"""Run folders as `train` writes them, made without Ray and without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdar_gym.configs import load_config
from sdar_gym.configs.record import resolved
from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.runs.checkpoint import write_checkpoint
from sdar_gym.runs.folder import RunFolder, new_run_folder
from sdar_gym.runs.resume import plain_settings

PANEL = TaskPanel("valid_seen-2", "sdar/ALFWorld-v0", ("small/valid_seen/000001", "small/valid_seen/000002"))


def made_config(runs_dir: Path, *changes: str) -> RunConfig:
    return load_config("quickstart", [f"runs_dir={runs_dir}", "training.iterations=4", *changes])


def made_state(update: int, seed: int = 0) -> dict[str, Any]:
    """Of the form that an algorithm gives, with all kinds of values that are in one."""
    rng = torch.Generator().manual_seed(1000 * seed + update)
    weight = torch.randn(4, 3, generator=rng)
    moments = {"exp_avg": torch.randn(4, 3, generator=rng).numpy(), "step": float(update)}
    learner = {
        "rl_module": {"default_policy": {"model.embed.weight": weight, "model.head.weight": weight}},
        "optimizer": {"adam": {"state": {"state": {0: moments}, "param_groups": [{"betas": (0.9, 0.999)}]}}},
        "teacher_weights": {"embed.weight": torch.randn(4, 3, generator=rng)},
        "metrics_logger": {"stats": {"loss": {"values": [float("nan"), 0.1], "last": np.float64(1 / 3)}}},
        "weights_seq_no": update,
    }
    return {
        "training_iteration": update,
        "learner_group": {"learner": learner},
        "sdar_learned": {"gap_advantage_correlation": {"heat": 0.25 + seed}, "frozen_teacher": None},
    }


def add_checkpoint(folder: RunFolder, config: RunConfig, update: int, seed: int = 0) -> None:
    with folder.fresh_checkpoint() as fresh:
        settings = plain_settings(resolved(config))
        write_checkpoint(fresh, made_state(update, seed), run=folder.run_id(), settings=settings, panel=PANEL.hash)


def made_run(runs_dir: Path, *changes: str, updates: int = 2, seed: int = 0) -> RunFolder:
    """A run with an evaluation before the first update and a checkpoint after each."""
    config = made_config(runs_dir, *changes)
    folder = new_run_folder(config)
    folder.write_start(resolved(config), PANEL)
    folder.log({"update": 0, "evaluation": {"success": 0.25}})
    add_checkpoint(folder, config, 0, seed)
    for update in range(1, updates + 1):
        folder.log({"update": update, "train": {"success": 0.5}})
        add_checkpoint(folder, config, update, seed)
    return folder
