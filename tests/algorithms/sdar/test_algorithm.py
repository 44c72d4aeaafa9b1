"""The algorithm on RLlib in one process, with the tiny policy in small rooms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune
from ray.tune.registry import TRAINABLE_CLASS, _global_registry
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    ENV,
    ENV_CONFIG,
    PANEL,
    ROLLOUT,
    assert_same_gradients,
    equal,
    learner_metrics,
    learner_of,
    small_config,
    steps_of,
    teacher_tokens,
    texts_of,
    versions_of,
    weights_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.sections import PolicySettings
from sdar_gym.evaluation.panels import play_panel
from sdar_gym.policy.load import load_model, load_tokenizer

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]


@pytest.mark.parametrize("method", ["sdar", "grpo"])
def test_an_update_changes_the_policy_and_logs_its_metrics(method: str, build: Build) -> None:
    algorithm = build(small_config(method))
    before = weights_of(algorithm)
    result = algorithm.train()
    assert not equal(before, weights_of(algorithm))
    tasks = [episode.task_id for episode in algorithm.last_episodes]
    played, learned = result["env_runners"], learner_metrics(result)
    assert (played["episodes"], played["lost_episodes"]) == (8, 0)
    # Some of a group win and some do not: otherwise there would be nothing to learn.
    assert 0 < played["success"] < 1
    assert played["live_group_fraction"] > 0
    assert played["turns"] == sum(len(episode.turns) for episode in algorithm.last_episodes)
    assert learned["weight"] == pytest.approx(1.0)
    assert learned["policy_loss"] != 0
    # On policy: engine and learner agree about every token.
    assert learned["ratio_max"] == pytest.approx(1.0, abs=1e-4)
    assert learned["approx_kl"] < 1e-8
    assert learned["kl"] == pytest.approx(0.0, abs=1e-8)
    assert ("gap_mean" in learned) == (method == "sdar")
    if method == "sdar":
        assert learned["gap_mean"] != 0
        assert played["skill_coverage"] == 1
    assert all(math.isfinite(value) for value in learned.values() if isinstance(value, float))
    second = learner_metrics(algorithm.train())
    assert second["kl"] > 0
    assert second["weight"] == pytest.approx(1.0)
    assert versions_of(algorithm) == {1}
    # Groups of four play one task; the next update plays others.
    assert [len(set(tasks[start : start + 4])) for start in (0, 4)] == [1, 1]
    assert not set(tasks) & {episode.task_id for episode in algorithm.last_episodes}


def test_grpo_is_sdar_without_distillation_bit_for_bit(build: Build) -> None:
    grpo = build(small_config("grpo"))
    sdar = build(small_config("sdar", objective={"distill": {"coeff": 0.0}}))
    distilled = build(small_config("sdar"))
    for algorithm in (grpo, sdar, distilled):
        algorithm.train()
        algorithm.train()
    assert equal(weights_of(grpo), weights_of(sdar))
    assert not equal(weights_of(grpo), weights_of(distilled))


def test_a_restored_run_goes_on_as_if_it_had_never_stopped(build: Build, tmp_path: Path) -> None:
    config = small_config(num_minibatches=2)
    straight = build(config.copy(copy_frozen=False))
    straight.train()
    straight.save_to_path(str(tmp_path / "checkpoint"))
    saved = weights_of(straight)
    straight.train()
    resumed = build(config.copy(copy_frozen=False))
    resumed.train()
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    assert resumed.training_iteration == 1
    assert equal(weights_of(resumed), saved)
    resumed.train()
    assert texts_of(resumed) == texts_of(straight)
    assert equal(weights_of(resumed), weights_of(straight))
    assert steps_of(resumed) == steps_of(straight) == 4


def test_an_evaluation_is_the_panel_s_and_the_exported_policy_repeats_it(build: Build, tmp_path: Path) -> None:
    algorithm = build(small_config())
    algorithm.train()
    summary = algorithm.evaluate()
    assert summary["panel_hash"] == algorithm.panel.hash
    assert summary["tasks"] == len(algorithm.last_evaluation) == 4
    assert summary["success_low"] <= summary["success"] <= summary["success_high"]
    assert algorithm.evaluate() == summary
    algorithm.export_policy(tmp_path / "policy")
    exported = load_model(str(tmp_path / "policy")).state_dict()
    learned = {name.removeprefix("model."): value for name, value in weights_of(algorithm).items()}
    assert equal(exported, learned)
    assert load_tokenizer(str(tmp_path / "policy")).chat_template
    run = RunConfig("x", ENV, env_config=ENV_CONFIG, policy=PolicySettings(), rollout=ROLLOUT, evaluation=PANEL)
    run = replace(run, skills=algorithm.config.skill_settings)
    repeated, episodes = play_panel(run, str(tmp_path / "policy"))
    del summary["teacher"]
    assert repeated == summary
    assert [episode.to_json() for episode in episodes] == [e.to_json() for e in algorithm.last_evaluation]


def test_evaluation_does_not_change_training(build: Build) -> None:
    quiet, evaluated = build(small_config()), build(small_config())
    evaluated.evaluate()
    for algorithm in (quiet, evaluated):
        algorithm.train()
    assert equal(weights_of(quiet), weights_of(evaluated))


def test_micro_batches_do_not_change_the_update(build: Build) -> None:
    whole, parts = build(small_config()), build(small_config(micro_batch_tokens=150))
    losses = [learner_metrics(algorithm.train()) for algorithm in (whole, parts)]
    assert_same_gradients(whole, parts)
    for name in ("total_loss", "policy_loss", "distill_loss", "gap_mean", "weight", "entropy"):
        assert losses[0][name] == pytest.approx(losses[1][name], rel=1e-4, abs=1e-7)


def test_minibatches_and_epochs_are_optimizer_steps(build: Build) -> None:
    algorithm = build(small_config(num_minibatches=3, num_epochs=2))
    result = algorithm.train()
    assert steps_of(algorithm) == 6
    assert learner_metrics(result)["weight"] == pytest.approx(1.0)
    # Later steps are off the policy that sampled.
    assert learner_metrics(result)["ratio_max"] > 1.001


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_the_gradients_of_minibatches_average_to_that_of_the_whole(aggregation: str, build: Build) -> None:
    def gradients(count: int) -> list[torch.Tensor]:
        """One flat gradient an optimizer step, at a learning rate that moves nothing."""
        objective = {"aggregation": aggregation}
        algorithm = build(small_config(num_minibatches=count, lr=1e-12, grad_clip=1e9, objective=objective))
        learner = algorithm.learner_group._learner
        apply, seen = learner.apply_gradients, []

        def note(given: dict[Any, torch.Tensor]) -> None:
            seen.append(torch.cat([gradient.flatten().clone() for gradient in given.values()]))
            apply(given)

        learner.apply_gradients = note
        algorithm.train()
        return seen

    (whole,), parts = gradients(1), gradients(3)
    assert len(parts) == 3
    assert not torch.allclose(parts[0], parts[1], rtol=0.1)
    torch.testing.assert_close(torch.stack(parts).mean(0), whole, atol=1e-4 * float(whole.abs().max()), rtol=1e-3)


def test_the_learning_rate_rises_over_the_warm_up(build: Build) -> None:
    algorithm = build(small_config(lr=3e-4, lr_warmup_updates=2, max_steps=2))
    learner = learner_of(algorithm)
    rates, apply = [], learner.apply_gradients

    def applied(gradients: Any) -> None:
        ((_, optimizer),) = learner.get_optimizers_for_module("default_policy")
        rates.append(optimizer.param_groups[0]["lr"])
        apply(gradients)

    learner.apply_gradients = applied
    for _ in range(4):
        algorithm.train()
    assert rates == pytest.approx([1e-4, 2e-4, 3e-4, 3e-4])


def test_fewer_rows_than_minibatches_are_enough(build: Build) -> None:
    config = small_config(tasks_per_iteration=1, num_minibatches=4).environment(
        env_config=ENV_CONFIG | {"max_steps": 1}
    )
    algorithm = build(config)
    result = algorithm.train()
    assert result["env_runners"]["rows"] <= 2
    assert steps_of(algorithm) == result["env_runners"]["rows"]
    assert all(value.isfinite().all() for value in weights_of(algorithm).values())


def test_grpo_needs_no_skills(build: Build) -> None:
    algorithm = build(small_config("grpo").skills(strategy="none"))
    algorithm.train()
    assert teacher_tokens(algorithm) == []


@pytest.fixture
def registered() -> None:
    """Importing registers the name; a configuration does it again where a Ray instance of before took it along."""
    SDARConfig()


@pytest.mark.usefixtures("registered")
def test_tune_knows_it_by_name() -> None:
    assert _global_registry.get(TRAINABLE_CLASS, "SDAR") is SDAR
    assert SDAR.get_default_config().method == "sdar"


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_tune_runs_it(tmp_path: Path) -> None:
    results = tune.Tuner(
        "SDAR",
        param_space=small_config(),
        run_config=tune.RunConfig(stop={"training_iteration": 1}, storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert results.errors == []
    assert results[0].metrics["training_iteration"] == 1
    assert results[0].metrics["env_runners"]["episodes"] == 8
