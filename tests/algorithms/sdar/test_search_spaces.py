"""Search spaces of Ray Tune in any section and in plain dictionaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.search.variant_generator import generate_variants
from tiny_runs import small_config  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.configs.sections import LoraSettings


def spaces() -> SDARConfig:
    config = small_config()
    config.policy(lora={"r": tune.choice([3]), "alpha": tune.uniform(5.0, 6.0)}, torch_threads=tune.randint(1, 3))
    config.skills(strategy="bm25", k=tune.grid_search([1, 2]), field_weights={"title": tune.uniform(1.0, 2.0)})
    config.rollout(temperature=tune.uniform(0.5, 0.6)).evaluation(tasks=tune.choice([7]))
    config.training(lr=tune.loguniform(1e-5, 1e-4), objective={"distill": {"coeff": tune.loguniform(0.02, 0.03)}})
    return config.environment("sdar/ALFWorld-v0", env_config={"games": "generated", "max_steps": tune.choice([3])})


def variants(config: SDARConfig) -> list[SDARConfig]:
    """The configurations that Tune and RLlib make of a parameter space."""
    return [
        SDAR.get_default_config().update_from_dict(spec["config"])
        for _, spec in generate_variants({"config": config.to_dict()})
    ]


def test_every_section_may_have_spaces() -> None:
    config = spaces()
    chosen = variants(config)
    assert [one.skill_settings.k for one in chosen] == [1, 2]
    for one in chosen:
        one.validate()
        assert one.policy_settings.lora is not None
        assert (one.policy_settings.lora.r, one.evaluation_settings.tasks, one.env_config["max_steps"]) == (3, 7, 3)
        assert 5 <= one.policy_settings.lora.alpha <= 6 and 1 <= one.policy_settings.torch_threads <= 2
        assert 0.5 <= one.rollout_settings.temperature <= 0.6
        assert 1 <= one.skill_settings.field_weights["title"] <= 2
        assert 1e-5 <= one.lr <= 1e-4
        distill = one.get_method().objective.distill
        assert distill is not None and 0.02 <= distill.coeff.at(0) <= 0.03
    temperatures = {one.rollout_settings.temperature for one in variants(config) + chosen}
    assert len(temperatures) > 1, "each draw is a new one"


def test_a_configuration_with_spaces_is_for_tune_only() -> None:
    with pytest.raises(ValueError, match=r"rollout\.temperature.*param_space=config"):
        small_config().rollout(temperature=tune.uniform(0.5, 1.0)).validate()
    config = small_config().rollout(temperature=tune.uniform(0.5, 1.0)).rollout(temperature=0.7)
    config.validate()
    assert config.rollout_settings.temperature == 0.7


def test_a_chosen_value_that_makes_no_sense_is_refused() -> None:
    config = small_config().rollout(temperature=tune.choice([-1.0]))
    with pytest.raises(ValueError, match=r"rollout\.temperature must be a finite number of at least 0, got -1"):
        variants(config)
    with pytest.raises(ValueError, match=r"Unknown setting rollout\.temprature\. Did you mean rollout\.temperature\?"):
        small_config().rollout(temprature=tune.choice([1.0]))
    with pytest.raises(ValueError, match=r"Unknown setting rollout\.temprature"):
        small_config().update_from_dict({"rollout_settings": {"temprature": 1.0}})


def test_a_dictionary_gives_the_same_configuration_again() -> None:
    config = small_config().policy(lora=LoraSettings(r=5, target_modules=["q_proj"])).rollout(window=3)
    again = SDARConfig().update_from_dict(config.to_dict())
    assert again.policy_settings == config.policy_settings
    assert again.rollout_settings == config.rollout_settings
    partly = config.copy(copy_frozen=False).update_from_dict({"rollout_settings": {"window": 4}})
    assert (partly.rollout_settings.window, partly.rollout_settings.prompt) == (4, config.rollout_settings.prompt)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_tune_runs_two_samples(tmp_path: Path) -> None:
    import ray

    ray.shutdown()  # One that tests of another file left for the next ones.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        config = small_config().rollout(temperature=tune.uniform(0.5, 1.0)).evaluation(evaluation_interval=1)
        config.training(objective={"distill": {"coeff": tune.loguniform(0.01, 0.1)}})
        tuner: Any = tune.Tuner(
            SDAR,
            param_space=config,
            tune_config=tune.TuneConfig(num_samples=2, max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=str(tmp_path), stop={"training_iteration": 1}, verbose=0),
        )
        results = tuner.fit()
    finally:
        ray.shutdown()
    assert not results.errors and len(results) == 2
    assert len({result.config["rollout_settings"]["temperature"] for result in results}) == 2
    assert all(0 <= result.metrics["evaluation"]["success"] <= 1 for result in results)
