"""SmolLM2-135M-Instruct trained by SDAR: both contexts, whole and with adapters, resumed, exported and loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from safetensors.torch import load_file

from sdar_gym.cli.training import train_command
from sdar_gym.configs import load_config
from sdar_gym.evaluation.panels import play_panel
from sdar_gym.policy.load import load_model
from sdar_gym.policy.trained_prompt import prompt_differences
from sdar_gym.report.tokens import read_tokens
from sdar_gym.runs.folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]
# One task, two episodes of two turns, a few tokens each: what is tested is the way, not what is learned.
SIZES = (
    "policy.dtype=float32",
    "env_config.games=generated",
    "env_config.scene=small",
    "env_config.max_steps=2",
    "skills.strategy=oracle_type",
    "skills.k=1",
    "skills.include_general=false",
    "rollout.think=false",
    "rollout.max_response_tokens=6",
    "training.group_size=2",
    "training.tasks_per_iteration=1",
    "training.objective.entropy_coeff=0",
    "evaluation.tasks=1",
    "evaluation.teacher_tasks=0",
    "checkpoint_interval=1",
)
LORA = ("policy.lora={r: 4, alpha: 8.0}", "training.lr=1e-4")
CONVERSATION = ("rollout.context=conversation", "rollout.show_actions=first")


@pytest.fixture(autouse=True, scope="module")
def _ray() -> Iterator[None]:
    ray.shutdown()  # One that tests of another file left for the next ones.
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.mark.parametrize("context", [(), CONVERSATION], ids=["window", "conversation"])
@pytest.mark.parametrize("weights", [(), LORA], ids=["whole", "lora"])
def test_two_updates_resume_export_and_reload(
    context: tuple[str, ...], weights: tuple[str, ...], smollm2: Path, tmp_path: Path
) -> None:
    changes = [f"policy.model={smollm2}", f"runs_dir={tmp_path}", *SIZES, *context, *weights]
    train_command("published", [*changes, "training.iterations=1"], None)
    folder = RunFolder(tmp_path / "published-sdar")
    train_command(None, ["training.iterations=2"], folder.path)

    records = folder.records()
    trained = [record for record in records if "train" in record]
    assert [record["update"] for record in trained] == [1, 2]
    for record in trained:
        numbers = [value for value in record["train"].values() if isinstance(value, float)]
        assert all(math.isfinite(value) for value in numbers) and "not_finite" not in record
    rows = [row for update in (1, 2) for row in read_tokens(folder.path / "tokens" / f"train-{update:05d}.jsonl")]
    # The teacher reads the skills, so that it scores the sampled tokens otherwise.
    gaps = [gap for row in rows for gap in row["gap"]]
    assert all(gap is not None for gap in gaps) and max(map(abs, gaps)) > 1e-3

    before, after = load_model(str(smollm2)).state_dict(), load_model(str(folder.policy)).state_dict()
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    saved = load_file(folder.checkpoint / "weights.safetensors")
    if weights:
        assert all("lora" in name for name in saved)
    else:
        assert all(
            tensor.equal(after[name.rpartition("/")[2].removeprefix("model.")]) for name, tensor in saved.items()
        )

    # The saved policy samples what the run's own last evaluation sampled, with the same log-probabilities.
    run = load_config(str(folder.config))
    assert not prompt_differences(folder.policy, run.rollout)
    summary, (episode,) = play_panel(run, str(folder.policy))
    text = (folder.path / "episodes" / "eval-00002.jsonl").read_text(encoding="utf-8")
    (last,) = [json.loads(line) for line in text.splitlines()]
    assert summary["success"] == records[-1]["evaluation"]["success"]
    assert [turn.response for turn in episode.turns] == [turn["response"] for turn in last["turns"]]
    for turn, noted in zip(episode.turns, last["turns"], strict=True):
        mean = sum(turn.old_logp) / len(turn.old_logp)
        assert mean == pytest.approx(noted["mean_logprob"], abs=2e-5 if not weights else 1e-3)
