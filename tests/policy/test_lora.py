"""LoRA adapters in a model, and their settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sdar_gym.configs.schema import ConfigError, parse_run_config
from sdar_gym.configs.sections import LoraSettings, PolicySettings
from sdar_gym.policy.logprobs import score_responses
from sdar_gym.policy.lora import Adapters
from sdar_gym.rollout.engines.base import GenerationRequest, SamplingParams
from sdar_gym.rollout.engines.transformers_engine import TransformersEngine

Make = Callable[..., Any]
ALL = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def logp(model: Any, rows: Any) -> torch.Tensor:
    with torch.no_grad():
        return score_responses(model, *rows).logp_BT


def shaken(adapters: Adapters, seed: int = 1) -> Adapters:
    """As if they had learned something."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return adapters


def adapted(names: frozenset[str]) -> set[str]:
    return {name.split(".")[-4] for name in names}


@pytest.mark.parametrize("kind", ["qwen3", "qwen2"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_adapters_sit_in_all_of_attention_and_mlp_and_are_all_that_is_trained(
    kind: str, tied: bool, make_model: Make, rows: Any
) -> None:
    model = make_model(kind, tied=tied)
    base = {name: tensor.clone() for name, tensor in model.named_parameters()}
    before = logp(model, rows)
    adapters = Adapters(model, r=3, alpha=6)
    assert adapted(adapters.names()) == ALL
    assert len(adapters.names()) == 2 * 7 * 2
    assert {name for name, p in model.named_parameters() if p.requires_grad} == adapters.names()
    assert adapters.names() <= set(model.state_dict())
    # At first they are nothing.
    assert torch.equal(logp(model, rows), before)
    optimizer = torch.optim.AdamW(adapters.parameters(), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        (-score_responses(model, *rows).logp_BT.sum()).backward()
        assert all(p.grad is not None for p in adapters.parameters())
        optimizer.step()
    assert logp(model, rows).sum() > before.sum() + 0.1
    rest = {name.replace(".base_layer", ""): p for name, p in model.named_parameters() if not p.requires_grad}
    assert rest.keys() == base.keys()
    assert all(torch.equal(rest[name], tensor) for name, tensor in base.items())


def test_some_layers_may_be_chosen(make_model: Make) -> None:
    assert adapted(Adapters(make_model(), r=1, alpha=1, target_modules=["q_proj", "up_proj"]).names()) == {
        "q_proj",
        "up_proj",
    }


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("query", r"has 'query', and qwen3 has no such linear layer; choose among down_proj, .*leave it empty for all"),
        ("lm_head", r"cannot include 'lm_head': a teacher's head is kept.*Choose among down_proj, gate_proj, k_proj"),
        ("embed_tokens", r"cannot include 'embed_tokens'"),
    ],
)
def test_layers_that_cannot_be_adapted_are_refused(target: str, message: str, make_model: Make) -> None:
    with pytest.raises(ValueError, match=message):
        Adapters(make_model(), r=1, alpha=1, target_modules=["q_proj", target])


def test_the_same_seed_gives_the_same_adapters_and_disturbs_nobody(make_model: Make) -> None:
    models = [make_model() for _ in range(3)]
    before = torch.get_rng_state()
    one, same, other = (Adapters(model, r=2, alpha=4, seed=seed) for model, seed in zip(models, (7, 7, 8), strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, one.parameters(), same.parameters()))
    assert not all(map(torch.equal, one.parameters(), other.parameters()))


def test_switched_off_adapters_leave_the_base_model_and_come_back(make_model: Make, rows: Any) -> None:
    model = make_model()
    before = logp(model, rows)
    adapters = shaken(Adapters(model, r=2, alpha=4))
    live = logp(model, rows)
    assert not torch.allclose(live, before, atol=1e-2)
    trained = [p.requires_grad for p in model.parameters()]
    with pytest.raises(KeyError), adapters.disabled():
        assert torch.equal(logp(model, rows), before)
        raise KeyError
    assert torch.equal(logp(model, rows), live)
    assert [p.requires_grad for p in model.parameters()] == trained


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_merged_weights_are_an_ordinary_model_with_the_same_logits(
    tied: bool, make_model: Make, rows: Any, tmp_path: Path
) -> None:
    model = make_model(tied=tied, dtype=torch.float64)
    names = list(model.state_dict())
    adapters = shaken(Adapters(model, r=2, alpha=4))
    live = logp(model, rows)
    merged = adapters.merged()
    assert list(merged.state_dict()) == names
    torch.testing.assert_close(logp(merged, rows), live, atol=1e-6, rtol=1e-6)
    merged.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logp(loaded, rows), logp(merged, rows))
    assert loaded.config.tie_word_embeddings == tied


def test_adapters_of_a_model_in_half_precision_are_in_single(make_model: Make, rows: Any) -> None:
    model = make_model(dtype=torch.bfloat16)
    adapters = Adapters(model, r=2, alpha=4)
    assert {p.dtype for p in adapters.parameters()} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    weight = adapters.parameters()[1]
    optimizer = torch.optim.SGD(adapters.parameters(), lr=1e-4)
    (-score_responses(model, *rows).logp_BT.sum()).backward()
    optimizer.step()
    assert weight.any()


def test_an_engine_takes_adapters_only_and_refuses_others(make_model: Make, rows: Any) -> None:
    learner, runner = make_model(), make_model()
    trained, played = shaken(Adapters(learner, r=2, alpha=4)), Adapters(runner, r=2, alpha=4)
    engine = TransformersEngine(runner, stop_ids=[1], pad_id=0)
    state = {name: learner.state_dict()[name] for name in trained.names()}
    engine.update_weights(state, 3)
    assert torch.equal(logp(runner, rows), logp(learner, rows))
    (result,) = engine.generate([GenerationRequest([5, 6, 7], 0)], SamplingParams(4))
    assert result.weight_version == 3
    larger, plain = make_model(), make_model()
    for other, message in (
        ({name: larger.state_dict()[name] for name in Adapters(larger, r=4, alpha=4).names()}, "have another shape"),
        (plain.state_dict(), "are unknown to it"),
        (dict(list(state.items())[1:]), "1 tensors are missing"),
    ):
        with pytest.raises(ValueError, match=message):
            engine.update_weights(other, 4)
    assert len(played.names()) == len(state)


def test_settings_of_adapters_are_read_from_yaml_and_written_back() -> None:
    content = {"name": "x", "env": "sdar/ALFWorld-v0", "policy": {"lora": {"r": 4, "target_modules": ["q_proj"]}}}
    run = parse_run_config(content, "here")
    assert run.policy.lora == LoraSettings(r=4, target_modules=["q_proj"])
    assert run.to_dict()["policy"]["lora"] == asdict(LoraSettings(r=4, target_modules=["q_proj"]))
    assert parse_run_config(run.to_dict(), "again") == run
    assert parse_run_config({"name": "x", "env": "y"}, "here").policy.lora is None


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 4}, r"policy\.lora.*rank"),
        ({"r": 0}, r"policy\.lora\.r must be a whole number from 1 to 65,536, got 0"),
        ({"alpha": 0}, r"policy\.lora\.alpha must be a finite number above 0, got 0"),
        ({"dropout": 1.0}, r"policy\.lora\.dropout must be a finite number of at least 0 and below 1, got 1\.0"),
        ({"seed": -1}, r"policy\.lora\.seed must be"),
    ],
)
def test_senseless_settings_of_adapters_are_refused(lora: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_run_config({"name": "x", "env": "y", "policy": {"lora": lora}}, "here")


def test_settings_given_in_python_are_checked_too() -> None:
    assert replace(PolicySettings(), lora={"r": 4}).lora == LoraSettings(r=4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"policy\.lora has no setting 'rank'"):
        replace(PolicySettings(), lora={"rank": 4})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"policy\.offload_teacher must be true or false, got 'gpu'"):
        PolicySettings(offload_teacher="gpu")  # pyright: ignore[reportArgumentType]
