from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from sdar_gym.policy.load import (
    PolicyLoadError,
    load_model,
    load_tokenizer,
    load_weights,
    policy_path,
    stop_token_ids,
)


@pytest.fixture
def copied(policy_folder: Path, tmp_path: Path) -> Path:
    """A saved policy that may be damaged."""
    return Path(shutil.copytree(policy_folder, tmp_path / "policy"))


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_loads_as_it_was_saved(policy_folder: Path, tokenizer: Any) -> None:
    model = load_model(str(policy_folder))
    assert not model.training
    assert model.dtype == torch.float32
    assert model.config.vocab_size == len(tokenizer)
    assert load_tokenizer(str(policy_folder)).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("dtype", "expected"), [("bfloat16", torch.bfloat16), ("float64", torch.float64), ("auto", torch.float32)]
)
def test_the_data_type_can_be_chosen(policy_folder: Path, dtype: str, expected: torch.dtype) -> None:
    assert load_model(str(policy_folder), dtype).dtype == expected


def test_an_unknown_data_type_is_refused(policy_folder: Path) -> None:
    with pytest.raises(ValueError, match="Unknown dtype 'float16'; choose one of float32, bfloat16, float64, auto"):
        load_model(str(policy_folder), "float16")


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("builtin:huge", "No built-in policy 'builtin:huge'; choose one of "),
        ("./no/such/folder", "No such folder: no/such/folder"),
        ("runs/never-trained/policy", "No such folder: runs/never-trained/policy"),
        ("/no-such-folder", "No such folder: /no-such-folder"),
        ("nobody/no-such-model", r"of 'nobody/no-such-model'.*hub model while the hub can be reached"),
        ("two words", r"of 'two words'.*Name a saved folder"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_clear_error(load: Callable[[str], Any], name: str, message: str) -> None:
    with pytest.raises(PolicyLoadError, match=message) as refused:
        load(name)
    assert "\n" not in str(refused.value)


def test_a_hub_name_is_handed_on_as_it_is() -> None:
    assert policy_path("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"
    assert policy_path("gpt2") == "gpt2"


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyLoadError, match=r"is a folder without config\.json: not a saved model"):
        policy_path(str(tmp_path))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_text("this is no file of tensors"),
        lambda folder: cut(folder / "model.safetensors"),
        lambda folder: cut(folder / "config.json"),
        lambda folder: change_config(folder, model_type="nonesuch"),
        lambda folder: change_config(folder, model_type="t5"),
        lambda folder: change_config(folder, intermediate_size=99),
    ],
    ids=["no weights", "nonsense", "cut", "cut config", "unknown kind", "no language model", "other size"],
)
def test_damaged_weights_are_one_clear_error(copied: Path, damage: Callable[[Path], None]) -> None:
    damage(copied)
    with pytest.raises(PolicyLoadError, match=r"Could not load the model of .*policy'") as refused:
        load_model(str(copied))
    assert "\n" not in str(refused.value)


def test_weights_that_are_not_all_there_are_refused_rather_than_drawn(copied: Path) -> None:
    change_config(copied, num_hidden_layers=3, layer_types=["full_attention"] * 3)
    with pytest.raises(PolicyLoadError, match=r"are incomplete: 11 tensors, model\.layers\.2\."):
        load_model(str(copied))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: cut(folder / "tokenizer.json"),
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        lambda folder: (folder / "chat_template.jinja").unlink(),
    ],
    ids=["missing", "cut", "empty", "no chat template"],
)
def test_a_damaged_tokenizer_is_one_clear_error(copied: Path, damage: Callable[[Path], None]) -> None:
    damage(copied)
    with pytest.raises(PolicyLoadError, match="tokenizer of ") as refused:
        load_tokenizer(str(copied))
    assert "\n" not in str(refused.value)


SMALL: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "mistral", "sliding_window": 8}, "has sliding-window attention"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, "sliding"),
        ({"model_type": "cohere", "logit_scale": 0.1}, "changes its logits after the language-model head"),
    ],
    ids=["mistral", "qwen2 with a window", "cohere"],
)
def test_models_that_would_be_scored_wrong_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    kind = settings.pop("model_type")
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, **settings)).save_pretrained(tmp_path)
    with pytest.raises(PolicyLoadError, match=rf"\({kind}\).*{message}.*such as Qwen2\.5, Qwen3 or Llama"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_other_plain_architectures_are_taken(kind: str, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL)).save_pretrained(tmp_path)
    assert load_model(str(tmp_path)).config.model_type == kind


def test_answers_end_where_model_or_tokenizer_say(policy_folder: Path, tokenizer: Any) -> None:
    model = load_model(str(policy_folder))
    assert stop_token_ids(model, tokenizer) == (tokenizer.eos_token_id,)
    model.generation_config = GenerationConfig(eos_token_id=[7, 3])
    assert stop_token_ids(model, tokenizer) == tuple(sorted({3, 7, tokenizer.eos_token_id}))
    model.generation_config = None
    assert stop_token_ids(model, tokenizer) == (tokenizer.eos_token_id,)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_weights_are_loaded_in_the_model_s_precision(make_model: Callable[..., Any], tied: bool) -> None:
    source, model = make_model(tied=tied, seed=1), make_model(tied=tied, dtype=torch.bfloat16)
    load_weights(model, source.state_dict())
    assert model.dtype == torch.bfloat16
    assert all(torch.equal(p, q.bfloat16()) for p, q in zip(model.parameters(), source.parameters(), strict=True))
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.norm.weight"), r"1 tensors are missing, model\.norm\.weight among them"),
        (lambda state: state.update({"x": torch.zeros(1)}), "1 tensors are unknown to it, x among them"),
        (lambda state: state.update({"model.norm.weight": torch.zeros(1)}), "1 tensors have another shape, model"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_any_is_copied(
    change: Callable[[Any], None], message: str, make_model: Callable[..., Any]
) -> None:
    model, state = make_model(), dict(make_model(seed=1).state_dict())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        load_weights(model, state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_what_is_frozen_may_be_missing(make_model: Callable[..., Any]) -> None:
    model = make_model()
    model.model.embed_tokens.requires_grad_(False)
    state = {name: p + 1 for name, p in model.named_parameters() if name != "model.embed_tokens.weight"}
    load_weights(model, state)
    assert torch.equal(model.model.norm.weight, state["model.norm.weight"])
