"""Architecture check: supported and unsupported models, and weights that are not finite."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from sdar_gym.policy.architecture_check import refuse_unsupported_model
from sdar_gym.policy.load import NonFiniteWeightsError, PolicyLoadError, load_model
from sdar_gym.policy.non_finite import refuse_non_finite_weights

# With a padding token, whose embedding is zero and stays zero whatever a model multiplies it by.
SIZES: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GPT2: dict[str, Any] = {"n_embd": 32, "n_head": 4, "n_layer": 2}


def built(kind: str, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES | settings)).to(dtype).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("qwen2", {}),
        ("qwen3", {}),
        ("llama", {}),
        ("phi3", {}),
        ("gpt2", GPT2),
        ("gpt_neox", {}),
        ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
        ("gemma", {"head_dim": 8}),
        ("olmo2", {}),
        ("granite", {"logits_scaling": 1.0}),
        ("falcon", {"alibi": False}),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}),
    ],
)
def test_models_that_are_scored_right_are_taken(kind: str, settings: Any, dtype: torch.dtype) -> None:
    refuse_unsupported_model("it", built(kind, dtype, **settings))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("cohere", {}, "changes its logits after the language-model head"),
        ("granite", {"logits_scaling": 8.0}, "changes its logits after the language-model head"),
        (
            "bloom",
            {"n_head": 4, "n_layer": 2},
            r"cannot be run with a cache and a mask over padded rows \(ValueError: too",
        ),
        ("falcon", {"alibi": True}, r"cannot be run with a cache and a mask over padded rows"),
        ("mistral", {"sliding_window": 8}, "has sliding-window attention"),
    ],
)
def test_models_that_would_be_scored_wrong_are_refused(
    kind: str, settings: Any, message: str, dtype: torch.dtype
) -> None:
    with pytest.raises(
        PolicyLoadError, match=rf"'it' \({kind}\) {message}.*such as Qwen2\.5, Qwen3 or Llama"
    ) as refused:
        refuse_unsupported_model("it", built(kind, dtype, **settings))
    assert "\n" not in str(refused.value)


def test_a_model_that_reads_padding_is_refused(make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes rows depend on each other: here a body that adds the batch's mean."""
    model = make_model()
    forward = model.model.forward

    def mixed(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        result.last_hidden_state = result.last_hidden_state + result.last_hidden_state.mean(dim=(0, 1), keepdim=True)
        return result

    refuse_unsupported_model("it", model)
    monkeypatch.setattr(model.model, "forward", mixed)
    with pytest.raises(PolicyLoadError, match="gives other log-probabilities"):
        refuse_unsupported_model("it", model)


def test_the_guard_leaves_model_and_random_numbers_alone(make_model: Callable[..., Any]) -> None:
    model = make_model()
    before, state = {name: p.clone() for name, p in model.named_parameters()}, torch.get_rng_state()
    refuse_unsupported_model("it", model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in model.named_parameters())


def damage(folder: Path, tensor: str, value: float, count: int = 1) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[tensor].view(-1)[:count] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "tensor", ["model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight"]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_that_are_not_finite_are_refused_with_the_right_reason(
    policy_folder: Path, tmp_path: Path, tensor: str, value: float, dtype: str
) -> None:
    folder = Path(shutil.copytree(policy_folder, tmp_path / "policy"))
    damage(folder, tensor, value, count=3)
    message = rf"The weights of '{folder}' hold 3 numbers that are not finite, {tensor} among them"
    with pytest.raises(NonFiniteWeightsError, match=message):
        load_model(str(folder), dtype)


def test_all_weights_that_are_not_finite_are_counted(make_model: Callable[..., Any]) -> None:
    model = make_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    total = sum(parameter.numel() for parameter in model.parameters())
    with pytest.raises(NonFiniteWeightsError, match=f"hold {total:,} numbers that are not finite"):
        refuse_non_finite_weights("it", model.named_parameters())


def test_finite_weights_whose_logits_are_not_are_told_apart(make_model: Callable[..., Any]) -> None:
    model = make_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(3e38)
    refuse_non_finite_weights("it", model.named_parameters())
    with pytest.raises(NonFiniteWeightsError, match=r"gives logits that are not finite in torch\.float32, though its"):
        refuse_unsupported_model("it", model)


def test_whole_numbers_are_finite() -> None:
    refuse_non_finite_weights("it", [("ids", torch.tensor([1, 2])), ("mask", torch.tensor([True]))])
