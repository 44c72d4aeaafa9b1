"""SDAR on RLlib, with real parts throughout: a very small policy, small rooms, one local Ray instance for all tests."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray import tune
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.tune.registry import TRAINABLE_CLASS, _global_registry

import sdar_gym.algorithms.sdar
from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.settings import EvaluationSettings, PolicySettings, RolloutSettings
from sdar_gym.evaluation.panels import play_panel
from sdar_gym.policy import warmstart
from sdar_gym.policy.demonstrations import DemonstrationMix
from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.policy.tiny import TinyShape
from sdar_gym.policy.warmstart import Recipe, save_policy, warm_start

pytestmark = pytest.mark.ray
ENV = "sdar/ALFWorld-v0"
ENV_CONFIG = {"games": "generated", "scene": "small", "max_steps": 4}
PANEL = EvaluationSettings(tasks=4, temperature=1.0)
ROLLOUT = RolloutSettings(prompt="compact", think=False, max_response_tokens=10)
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A policy that was taught just enough to give valid and invalid answers: equal rewards would teach nothing."""
    shape = TinyShape(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
    )
    recipe = Recipe(
        steps=80,
        tokens_per_step=1500,
        learning_rate=1e-2,
        vocab_size=400,
        tokenizer_rows=150,
        shape=shape,
        mix=DemonstrationMix(small_rooms=1.0),
    )
    folder = tmp_path_factory.mktemp("taught")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(warmstart, "_BUCKET", 1)
        save_policy(*warm_start(recipe), folder)
    return str(folder)


@pytest.fixture
def configure(policy: str) -> Callable[..., SDARConfig]:
    def configure_(method: str = "sdar", **training: Any) -> SDARConfig:
        config = SDARConfig().environment(ENV, env_config=ENV_CONFIG)
        config.training(
            **{"method": method, "group_size": 2, "tasks_per_iteration": 2, "lr": 1e-3, "grad_clip": 1.0, **training}
        )
        config.policy(model=policy)
        config.rollout_settings, config.panel_settings = ROLLOUT, PANEL
        return config.debugging(seed=0, log_level="ERROR")

    return configure_


@pytest.fixture
def build() -> Iterator[Callable[[SDARConfig], SDAR]]:
    """Builds algorithms and stops them when the test is over."""
    built: list[SDAR] = []

    def build_(config: SDARConfig) -> SDAR:
        algorithm = config.build_algo()
        assert isinstance(algorithm, SDAR)
        built.append(algorithm)
        return algorithm

    yield build_
    for algorithm in built:
        algorithm.stop()


def learner_state(algorithm: SDAR) -> dict[str, Any]:
    return algorithm.learner_group.get_state(components="learner")["learner"]


def weights_of(algorithm: SDAR) -> Weights:
    return {
        name: torch.as_tensor(value) for name, value in learner_state(algorithm)["rl_module"][DEFAULT_MODULE_ID].items()
    }


def moments_of(algorithm: SDAR) -> list[np.ndarray[Any, Any]]:
    """AdamW's first moments: after one step, a tenth of the gradient it was given."""
    (optimizer,) = learner_state(algorithm)["optimizer"].values()
    return [np.asarray(entry["exp_avg"]) for _, entry in sorted(optimizer["state"]["state"].items())]


def steps_of(algorithm: SDAR) -> float:
    (optimizer,) = learner_state(algorithm)["optimizer"].values()
    return float(optimizer["state"]["state"][0]["step"])


def equal(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def assert_same_gradients(left: SDAR, right: SDAR) -> None:
    pairs = list(zip(moments_of(left), moments_of(right), strict=True))
    largest = max(np.abs(one).max() for one, _ in pairs)
    assert largest > 1e-5
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-5 * largest, rtol=1e-3)


def versions_of(algorithm: SDAR) -> set[int]:
    """Versions of the weights that played the last update's episodes."""
    return {turn.weight_version for episode in algorithm.last_episodes for turn in episode.turns}


def learner_metrics(result: dict[str, Any]) -> dict[str, float]:
    return result["learners"][DEFAULT_MODULE_ID]


@pytest.mark.parametrize("method", ["sdar", "grpo"])
def test_an_update_changes_the_policy_and_says_what_it_did(
    method: str, configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    algorithm = build(configure(method))
    before = weights_of(algorithm)
    result = algorithm.train()
    assert not equal(before, weights_of(algorithm))
    tasks = [episode.task_id for episode in algorithm.last_episodes]
    played, learned = result["env_runners"], learner_metrics(result)
    assert (played["episodes"], played["lost_episodes"]) == (4, 0)
    # Valid and invalid turns: the fine alone makes advantages here.
    assert 0 < played["valid_action"] < 1
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
    # Groups of two play one task; the next update plays others.
    assert tasks[0::2] == tasks[1::2]
    assert not set(tasks) & {episode.task_id for episode in algorithm.last_episodes}


def test_grpo_is_sdar_without_distillation_bit_for_bit(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    grpo = build(configure("grpo"))
    sdar = build(configure("sdar", objective={"distill_coeff": 0.0}))
    distilled = build(configure("sdar"))
    for algorithm in (grpo, sdar, distilled):
        algorithm.train()
        algorithm.train()
    assert equal(weights_of(grpo), weights_of(sdar))
    assert not equal(weights_of(grpo), weights_of(distilled))


def test_a_restored_run_goes_on_as_if_it_had_never_stopped(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR], tmp_path: Path
) -> None:
    config = configure(num_minibatches=2)
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
    texts = [
        [turn.response for episode in algorithm.last_episodes for turn in episode.turns]
        for algorithm in (straight, resumed)
    ]
    assert texts[0] == texts[1]
    assert equal(weights_of(resumed), weights_of(straight))
    assert steps_of(resumed) == steps_of(straight) == 4


def test_an_evaluation_is_the_panel_s_and_the_exported_policy_repeats_it(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR], tmp_path: Path
) -> None:
    algorithm = build(configure())
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
    assert repeated == summary
    assert [episode.to_json() for episode in episodes] == [e.to_json() for e in algorithm.last_evaluation]


def test_evaluating_does_not_disturb_training(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    quiet, watched = build(configure()), build(configure())
    watched.evaluate()
    for algorithm in (quiet, watched):
        algorithm.train()
    assert equal(weights_of(quiet), weights_of(watched))


def test_micro_batches_do_not_change_the_update(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    whole, parts = build(configure()), build(configure(micro_batch_tokens=150))
    losses = [learner_metrics(algorithm.train()) for algorithm in (whole, parts)]
    assert_same_gradients(whole, parts)
    for name in ("total_loss", "policy_loss", "distill_loss", "gap_mean", "weight", "entropy"):
        assert losses[0][name] == pytest.approx(losses[1][name], rel=1e-4, abs=1e-7)


def test_minibatches_and_epochs_are_optimizer_steps(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    algorithm = build(configure(num_minibatches=3, num_epochs=2))
    result = algorithm.train()
    assert steps_of(algorithm) == 6
    assert learner_metrics(result)["weight"] == pytest.approx(1.0)
    # Later steps are off the policy that sampled.
    assert learner_metrics(result)["ratio_max"] > 1.001


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_the_gradients_of_minibatches_average_to_that_of_the_whole(
    aggregation: str, configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    def gradients(count: int) -> list[torch.Tensor]:
        """One flat gradient an optimizer step, at a learning rate that moves nothing."""
        objective = {"aggregation": aggregation}
        algorithm = build(configure(num_minibatches=count, lr=1e-12, grad_clip=1e9, objective=objective))
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


def test_fewer_rows_than_minibatches_are_enough(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    config = configure(tasks_per_iteration=1, num_minibatches=5).environment(env_config=ENV_CONFIG | {"max_steps": 1})
    algorithm = build(config)
    result = algorithm.train()
    assert result["env_runners"]["rows"] <= 2
    assert steps_of(algorithm) == result["env_runners"]["rows"]
    assert all(value.isfinite().all() for value in weights_of(algorithm).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.environment(env="sdar/AlfWorld-v0"), "Did you mean 'sdar/ALFWorld-v0'"),
        (lambda c: c.training(group_size=1), r"training\.group_size must be at least 2, got 1"),
        (lambda c: c.training(tasks_per_iteration=0), r"training\.tasks_per_iteration must be"),
        (lambda c: c.training(num_minibatches=0), r"training\.num_minibatches must be"),
        (lambda c: c.training(num_epochs=0), r"num_epochs"),
        (lambda c: c.training(micro_batch_tokens=0), r"training\.micro_batch_tokens must be"),
        (lambda c: c.training(invalid_action_penalty=-1.0), r"training\.invalid_action_penalty must not be"),
        (lambda c: c.training(weight_decay=-1.0), r"training\.weight_decay must not be"),
        (lambda c: c.training(adam_betas=(0.9, 1.0)), r"training\.adam_betas must be"),
        (lambda c: c.training(method="sdra"), "Unknown method 'sdra'.*sdar"),
        (lambda c: c.training(objective={"distil_coeff": 1.0}), "has no setting 'distil_coeff'"),
        (lambda c: c.training(objective={"distill_coeff": -1.0}), "distill_coeff must never be negative"),
        (lambda c: c.skills(strategy="none"), "the teacher would be the student"),
        (lambda c: c.skills(strategy="bm52"), "bm52"),
        (lambda c: c.skills(library="no/such/library"), "no/such/library"),
        (lambda c: c.rollout(prompt="long"), "no prompt template 'long'"),
    ],
)
def test_senseless_configurations_are_refused(
    change: Callable[[SDARConfig], Any], message: str, configure: Callable[..., SDARConfig]
) -> None:
    config = configure()
    config.validate()
    change(config)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_no_environment_and_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"No environment: call \.environment"):
        SDARConfig().validate()
    for section, name, meant in (
        ("policy", "modle", "policy.model"),
        ("skills", "stratgy", "skills.strategy"),
        ("rollout", "promt", "rollout.prompt"),
        ("panel", "tsks", "evaluation.tasks"),
    ):
        with pytest.raises(ValueError, match=rf"Unknown setting .*{name}.*Did you mean {meant}\?"):
            getattr(SDARConfig(), section)(**{name: 1})


def test_grpo_needs_no_skills(configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]) -> None:
    algorithm = build(configure("grpo").skills(strategy="none"))
    algorithm.train()
    assert all(turn.teacher_prompt_ids == [] for episode in algorithm.last_episodes for turn in episode.turns)


@pytest.fixture
def registered() -> None:
    """Importing registers the name; with a Ray instance of before, Ray forgot it."""
    importlib.reload(sdar_gym.algorithms.sdar)


@pytest.mark.usefixtures("registered")
def test_tune_knows_it_by_name() -> None:
    assert _global_registry.get(TRAINABLE_CLASS, "SDAR") is SDAR
    assert SDAR.get_default_config().method == "sdar"


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_tune_runs_it(configure: Callable[..., SDARConfig], tmp_path: Path) -> None:
    results = tune.Tuner(
        "SDAR",
        param_space=configure(),
        run_config=tune.RunConfig(stop={"training_iteration": 1}, storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert results.errors == []
    assert results[0].metrics["training_iteration"] == 1
    assert results[0].metrics["env_runners"]["episodes"] == 4


def remote(config: SDARConfig, *, runners: int = 0, learners: int = 0) -> SDARConfig:
    """Remote processes that take less than a core each, so that all fit on a small machine."""
    config.env_runners(num_env_runners=runners, num_cpus_per_env_runner=0.25)
    return config.learners(num_learners=learners, num_cpus_per_learner=0.25)


@pytest.mark.slow
def test_remote_runners_and_a_remote_learner_make_the_local_update(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    local, spread = build(configure()), build(remote(configure(), runners=2, learners=1))
    results = [algorithm.train() for algorithm in (local, spread)]
    texts = [
        [(episode.episode_id, turn.response) for episode in algorithm.last_episodes for turn in episode.turns]
        for algorithm in (local, spread)
    ]
    assert texts[0] == texts[1]
    assert_same_gradients(local, spread)
    assert learner_metrics(results[0])["total_loss"] == pytest.approx(
        learner_metrics(results[1])["total_loss"], rel=1e-3
    )
    assert local.evaluate() == spread.evaluate()


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_two_learners_make_the_update_of_one(
    aggregation: str, configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    settings = {"objective": {"aggregation": aggregation}, "micro_batch_tokens": 200}
    one, two = build(configure(**settings)), build(remote(configure(**settings), learners=2))
    results = [learner_metrics(algorithm.train()) for algorithm in (one, two)]
    assert_same_gradients(one, two)
    for name in ("policy_loss", "distill_loss", "gap_mean", "weight", "entropy"):
        assert results[0][name] == pytest.approx(results[1][name], rel=1e-3, abs=1e-7)


@pytest.mark.slow
def test_a_learner_without_rows_does_not_hold_up_the_other(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    def config() -> SDARConfig:
        few = configure(tasks_per_iteration=1, num_minibatches=2)
        return few.environment(env_config=ENV_CONFIG | {"max_steps": 1})

    algorithm = build(remote(config(), learners=2))
    result = algorithm.train()
    assert result["env_runners"]["rows"] <= 2
    assert learner_metrics(result)["weight"] == pytest.approx(1.0)
    assert all(value.isfinite().all() for value in weights_of(algorithm).values())


def kill_runner(algorithm: SDAR) -> None:
    """As if its machine had gone; Ray starts it again somewhere."""
    ray.kill(next(iter(algorithm.env_runner_group._worker_manager.actors().values())), no_restart=False)


@pytest.mark.slow
def test_a_lost_runner_costs_its_episodes_and_not_the_run(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    algorithm = build(remote(configure(), runners=2))
    assert algorithm.train()["env_runners"]["lost_episodes"] == 0
    kill_runner(algorithm)
    lost = algorithm.train()["env_runners"]
    assert (lost["episodes"], lost["lost_episodes"]) == (2, 2)
    for _ in range(200):
        if algorithm.train()["env_runners"]["lost_episodes"] == 0:
            break
    else:
        pytest.fail("The runner did not come back.")
    # The new one plays with the present weights.
    assert versions_of(algorithm) == {algorithm.training_iteration - 1}


@pytest.mark.slow
def test_a_run_waits_for_the_only_runner_to_come_back(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    algorithm = build(remote(configure(), runners=1))
    algorithm.train()
    kill_runner(algorithm)
    lost = algorithm.train()
    assert lost["env_runners"]["lost_episodes"] == 4
    assert algorithm.train()["env_runners"]["lost_episodes"] == 0
    assert versions_of(algorithm) == {1}


@pytest.mark.slow
def test_what_a_lost_runner_should_have_evaluated_is_played_by_another(
    configure: Callable[..., SDARConfig], build: Callable[[SDARConfig], SDAR]
) -> None:
    algorithm, local = build(remote(configure(), runners=2)), build(configure())
    for one in (algorithm, local):
        one.train()
    kill_runner(algorithm)
    assert algorithm.evaluate() == local.evaluate()
