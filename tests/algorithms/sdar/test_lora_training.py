"""Training with adapters (LoRA) and in half precision: trained, sent, saved, restored and exported weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from transformers import AutoModelForCausalLM, AutoTokenizer

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.configs.sections import EvaluationSettings, LoraSettings, RolloutSettings

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
LORA = LoraSettings(r=2, alpha=4)
IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


@pytest.fixture
def build(policy_folder: Path) -> Iterator[Callable[..., SDAR]]:
    built: list[SDAR] = []

    def build_(**policy: Any) -> SDAR:
        config = SDARConfig().environment(
            "sdar/ALFWorld-v0", env_config={"games": "generated", "scene": "small", "max_steps": 2}
        )
        config.training(method="sdar", group_size=2, tasks_per_iteration=1, lr=1e-2)
        config.policy(model=str(policy_folder), **policy)
        config.rollout_settings = RolloutSettings(prompt="compact", think=False, max_response_tokens=6)
        config.evaluation_settings = EvaluationSettings(tasks=1)
        algorithm = config.debugging(seed=0, log_level="ERROR").build_algo()
        assert isinstance(algorithm, SDAR)
        built.append(algorithm)
        return algorithm

    yield build_
    for algorithm in built:
        algorithm.stop()


def learner_module(algorithm: SDAR) -> Any:
    return algorithm.learner_group._learner.module[DEFAULT_MODULE_ID].unwrapped()


def runner_weights(algorithm: SDAR) -> dict[str, torch.Tensor]:
    """The weights that the local runner samples with, under the learner's names."""
    model = algorithm.env_runner_group.local_env_runner.engine._model
    return {f"model.{name}": tensor.clone() for name, tensor in model.state_dict().items()}


def weights(module: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_alone_are_trained_sent_saved_and_exported(
    dtype: str, build: Callable[..., SDAR], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = build(dtype=dtype, gradient_checkpointing=True, lora=LORA)
    learner = learner_module(algorithm)
    adapters = {f"model.{name}" for name in learner.adapters.names()}
    before = weights(learner)
    # The first synchronisation was when the algorithm was built.
    assert equal(before, runner_weights(algorithm))
    sent: list[set[str]] = []
    engine = algorithm.env_runner_group.local_env_runner.engine
    update = engine.update_weights

    def note(state: Any, version: int) -> None:
        sent.append(set(state))
        update(state, version)

    monkeypatch.setattr(engine, "update_weights", note)
    algorithm.train()
    after = weights(learner)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert changed <= adapters
    assert sent == [{name.removeprefix("model.") for name in adapters}]
    assert equal(after, runner_weights(algorithm))

    algorithm.save_to_path(str(tmp_path / "checkpoint"))
    saved = learner.get_state()
    assert saved.keys() == adapters
    algorithm.train()
    straight = weights(learner)
    assert not equal(straight, after)
    algorithm.restore_from_path(str(tmp_path / "checkpoint"))
    assert equal(weights(learner), after)
    assert equal(runner_weights(algorithm), after)
    algorithm.train()
    assert equal(weights(learner), straight)

    algorithm.export_policy(tmp_path / "policy")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "policy", dtype="auto")
    assert exported.dtype == getattr(torch, dtype)
    close = 1e-5 if dtype == "float32" else 0.05
    torch.testing.assert_close(logits(exported), logits(learner.model), atol=close, rtol=close)
    base = AutoModelForCausalLM.from_pretrained(algorithm.config.policy_settings.model)
    assert (logits(exported) - logits(base)).abs().max() > 3 * close
    assert AutoTokenizer.from_pretrained(tmp_path / "policy").chat_template


def test_in_half_precision_the_learner_trains_in_single_and_the_runner_plays_in_half(
    build: Callable[..., SDAR], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = build(dtype="bfloat16")
    learner = learner_module(algorithm)
    before = weights(learner)
    sent: list[torch.dtype] = []
    engine = algorithm.env_runner_group.local_env_runner.engine
    update = engine.update_weights

    def note(state: Any, version: int) -> None:
        sent.extend(tensor.dtype for tensor in state.values())
        update(state, version)

    monkeypatch.setattr(engine, "update_weights", note)
    algorithm.train()
    after = weights(learner)
    assert not equal(before, after)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert set(sent) == {torch.bfloat16}
    halved = {name: tensor.bfloat16() for name, tensor in after.items()}
    assert equal(runner_weights(algorithm), halved)
    # A checkpoint keeps what half precision cannot.
    assert not equal({name: tensor.float() for name, tensor in halved.items()}, after)
    assert equal(learner.get_state(), after)
    algorithm.export_policy(tmp_path / "policy")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "policy", dtype="auto")
    exported_weights = {f"model.{name}": tensor for name, tensor in weights(exported).items()}
    assert equal(exported_weights, runner_weights(algorithm))
