"""RLlib's conventions: evaluation, callbacks, names of results, components of a state, and dictionaries for Tune."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ray import tune
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.tune.search.variant_generator import generate_variants
from tiny_runs import ENV, ENV_CONFIG, small_config  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDAR, SDARConfig

Build = Callable[[SDARConfig], SDAR]
with_ray = pytest.mark.usefixtures("ray_instance")


@with_ray
@pytest.mark.ray
def test_training_evaluates_at_every_interval(build: Build) -> None:
    algorithm = build(small_config().evaluation(interval=2))
    results = [algorithm.train() for _ in range(4)]
    assert ["evaluation" in result for result in results] == [False, True, False, True]
    evaluation = results[3]["evaluation"]
    assert evaluation["tasks"] == len(algorithm.last_evaluation) == 4
    assert 0 <= evaluation["success"] <= 1
    assert {"success_low", "success_high", "episode_turns", "panel_hash", "teacher"} <= evaluation.keys()
    assert evaluation == algorithm.evaluate()


@pytest.mark.parametrize("interval", [0, 3])
def test_both_names_of_the_interval_set_the_same(interval: int) -> None:
    for settings in ({"interval": interval}, {"evaluation_interval": interval}):
        config = SDARConfig().environment(ENV, env_config=ENV_CONFIG).evaluation(**settings)
        config.check()
        assert config.evaluation_interval == interval
        assert config.evaluation_settings.interval == interval


def test_the_latest_name_of_the_interval_takes_precedence() -> None:
    for first, second in (("interval", "evaluation_interval"), ("evaluation_interval", "interval")):
        config = small_config().evaluation(**{first: 2}).evaluation(**{second: 7})
        config.check()
        assert (config.evaluation_interval, config.evaluation_settings.interval) == (7, 7)


class Recorder(RLlibCallback):
    """Records its calls, and logs a metric of every episode."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []

    def on_episode_end(self, *, episode: Any, metrics_logger: Any, env_index: int, **kwargs: Any) -> None:
        self.calls.append(("episode_end", (env_index, episode.episode_id)))
        metrics_logger.log_value(
            "longest_response", max(len(turn.response_ids) for turn in episode.turns), reduce="max"
        )

    def on_evaluate_start(self, *, algorithm: SDAR, metrics_logger: Any, **kwargs: Any) -> None:
        self.calls.append(("evaluate_start", algorithm.training_iteration))

    def on_evaluate_end(self, *, algorithm: SDAR, evaluation_metrics: Any, metrics_logger: Any, **kwargs: Any) -> None:
        self.calls.append(("evaluate_end", evaluation_metrics["tasks"]))

    def on_train_result(self, *, algorithm: SDAR, result: dict[str, Any], **kwargs: Any) -> None:
        self.calls.append(("train_result", algorithm.training_iteration))
        result["added_by_callback"] = len(algorithm.last_episodes)


@with_ray
@pytest.mark.ray
def test_callbacks_are_called_and_their_metrics_are_in_the_result(build: Build) -> None:
    functions: list[str] = []

    def note(*, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
        functions.append(episode.episode_id)
        metrics_logger.log_value("from_a_function", 3.0, window=1)

    # Functions are called after the class's methods.
    config = small_config().evaluation(interval=1, teacher_tasks=0).callbacks(Recorder, on_episode_end=note)
    algorithm = build(config)
    result = algorithm.train()
    (recorder,) = [each for each in algorithm.callbacks if isinstance(each, Recorder)]
    ids = [episode.episode_id for episode in algorithm.last_episodes]
    assert recorder.calls == [
        *[("episode_end", (number, name)) for number, name in enumerate(ids)],
        ("evaluate_start", 0),
        ("evaluate_end", 4),
        ("train_result", 1),
    ]
    assert functions == ids and len(ids) == 8
    assert result["added_by_callback"] == 8
    longest = max(len(turn.response_ids) for episode in algorithm.last_episodes for turn in episode.turns)
    # As RLlib does with what is logged on env runners.
    assert result["env_runners"]["longest_response"] == longest
    assert result["env_runners"]["from_a_function"] == 3


@with_ray
@pytest.mark.ray
def test_results_have_rllib_s_names(build: Build) -> None:
    algorithm = build(small_config())
    steps = 0
    for _ in range(2):
        result = algorithm.train()
        played, episodes = result["env_runners"], algorithm.last_episodes
        turns = sum(len(episode.turns) for episode in episodes)
        steps += turns
        mean = sum(episode.total_reward for episode in episodes) / len(episodes)
        assert played["episode_return_mean"] == pytest.approx(mean)
        assert played["episode_len_mean"] == played["episode_turns"] == pytest.approx(turns / len(episodes))
        assert (played["num_episodes"], played["num_env_steps_sampled"]) == (8, turns)
        assert played["num_env_steps_sampled_lifetime"] == result["num_env_steps_sampled_lifetime"] == steps
        timers = result["timers"]
        for name in ("env_runner_sampling_timer", "learner_update_timer", "synch_weights"):
            assert timers[name] > 0


@with_ray
@pytest.mark.ray
def test_a_state_has_the_requested_components(build: Build) -> None:
    algorithm = build(small_config("sdar"))
    algorithm.train()
    # RLlib always includes these two.
    always = {"metrics_logger", "training_iteration"}
    assert algorithm.get_state().keys() == always | {"env_runner", "learner_group", "sdar_learned"}
    assert algorithm.get_state(components="learner_group").keys() == always | {"learner_group"}
    assert algorithm.get_state(components=["sdar_learned"]).keys() == always | {"sdar_learned"}
    rest = algorithm.get_state(not_components=["sdar_learned", "env_runner"])
    assert rest.keys() == always | {"learner_group"}
    assert algorithm.get_state()["sdar_learned"]["gap_advantage_correlation"]
    # A state without it keeps what was learned, as any other component that is missing.
    learned = algorithm._correlation.get_state()
    algorithm.set_state(rest)
    assert algorithm._correlation.get_state() == learned


def variants(space: dict[str, Any]) -> list[SDARConfig]:
    """The configurations that Tune and RLlib make of a dictionary."""
    return [
        SDAR.get_default_config().update_from_dict(spec["config"]) for _, spec in generate_variants({"config": space})
    ]


def test_a_plain_dictionary_takes_flat_names_and_sections() -> None:
    space = {
        "env": ENV,
        "env_config": ENV_CONFIG,
        "method": "grpo",
        "group_size": 4,
        "tasks_per_iteration": 2,
        "lr": tune.grid_search([1e-3, 1e-4]),
        "num_minibatches": tune.grid_search([1, 2]),
        "objective": {"kl_coeff": tune.uniform(0.1, 0.2)},
        "rollout_settings": {"temperature": tune.uniform(0.5, 0.6), "prompt": "compact", "think": False},
        "skill_settings": {"k": 1},
    }
    chosen = variants(space)
    assert sorted((one.lr, one.training_settings.num_minibatches) for one in chosen) == [
        (1e-4, 1),
        (1e-4, 2),
        (1e-3, 1),
        (1e-3, 2),
    ]
    for one in chosen:
        one.validate()
        assert one.method == "grpo"
        assert (one.training_settings.group_size, one.training_settings.tasks_per_iteration) == (4, 2)
        assert one.training_settings.lr == one.lr
        assert 0.1 <= one.get_method().objective.kl_coeff <= 0.2
        assert 0.5 <= one.rollout_settings.temperature <= 0.6
        assert (one.rollout_settings.prompt, one.skill_settings.k) == ("compact", 1)


@pytest.mark.parametrize("name", ["lr", "num_epochs", "grad_clip", "group_size", "evaluation_interval"])
def test_a_grid_over_one_setting_is_one_trial_a_value(name: str) -> None:
    values = [2, 4] if name not in ("lr", "grad_clip") else [0.25, 0.5]
    config = small_config()
    if name == "evaluation_interval":
        config.evaluation(evaluation_interval=tune.grid_search(values))
    else:
        config.training(**{name: tune.grid_search(values)})
    chosen = variants(config.to_dict())
    assert len(chosen) == 2
    for one, value in zip(chosen, values, strict=True):
        one.check()
        found = getattr(one, name) if name == "evaluation_interval" else getattr(one.training_settings, name)
        assert found == value
    assert len(variants({"env": ENV, "env_config": ENV_CONFIG, name: tune.grid_search(values)})) == 2


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_tune_runs_a_trial_for_each_value_of_a_plain_dictionary(tmp_path: Any) -> None:
    import ray

    ray.shutdown()  # Another test's instance.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        results = tune.Tuner(
            SDAR,
            param_space={
                "env": ENV,
                "env_config": {**ENV_CONFIG, "max_steps": 2},
                "group_size": 4,
                "tasks_per_iteration": 2,
                "lr": tune.grid_search([1e-3, 1e-4]),
                "rollout_settings": {"prompt": "compact", "think": False, "max_response_tokens": 10},
                "evaluation_settings": {"tasks": 2, "teacher_tasks": 0},
                "evaluation_interval": 1,
            },
            tune_config=tune.TuneConfig(max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=str(tmp_path), stop={"training_iteration": 1}, verbose=0),
        ).fit()
    finally:
        ray.shutdown()
    assert not results.errors
    assert sorted(result.config["lr"] for result in results) == [1e-4, 1e-3]
    for result in results:
        assert result.metrics["env_runners"]["num_episodes"] == 8
        assert result.metrics["evaluation"]["tasks"] == 2
