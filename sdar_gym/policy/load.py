"""Loads a policy: a built-in one by name, a folder, adapters with their base, or a model of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from sdar_gym.paths import first_line
from sdar_gym.policy.architecture_check import refuse_unsupported_model
from sdar_gym.policy.chat import turn_end
from sdar_gym.policy.errors import NonFiniteWeightsError, PolicyLoadError, failed
from sdar_gym.policy.hub_access import require_from_hub
from sdar_gym.policy.model_source import (
    BUILTIN_PREFIX,
    policy_path,
    policy_source,
    refuse_incomplete_files,
    refuse_missing_tokenizer,
    refuse_quantized,
)
from sdar_gym.policy.non_finite import refuse_non_finite_weights

__all__ = [
    "BUILTIN_PREFIX",
    "NonFiniteWeightsError",
    "PolicyLoadError",
    "load_generation_config",
    "load_model",
    "load_model_config",
    "load_tokenizer",
    "load_weights",
    "named_stop_ids",
    "policy_path",
    "stop_token_ids",
]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64, "auto": "auto"}
# What the libraries raise for files that are missing, damaged or of another model.
_LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)


def load_tokenizer(name: str) -> Any:
    """The policy's tokenizer.

    Raises:
        PolicyLoadError: It cannot be loaded, or has no chat template or end token.
    """
    source = policy_source(name)
    refuse_missing_tokenizer(name, source.tokenizer)
    tokenizer: Any = _loaded(name, "tokenizer", source.tokenizer, AutoTokenizer)
    if tokenizer.chat_template is None:
        raise PolicyLoadError(
            f"The tokenizer of {name!r} has no chat template, as base models have none; use an instruction model, or "
            "save the template that it was trained with as chat_template.jinja beside the tokenizer."
        )
    if tokenizer.eos_token_id is None:
        raise PolicyLoadError(
            f"The tokenizer of {name!r} has no end token; name one as eos_token in its tokenizer_config.json, or use "
            "an instruction model."
        )
    return tokenizer


def load_model_config(name: str) -> PreTrainedConfig:
    """The model's configuration; of adapters, the configuration of their base.

    Raises:
        PolicyLoadError: It cannot be loaded, or belongs to quantized weights.
    """
    source = policy_source(name)
    config = _loaded(name, "model", source.model, AutoConfig)
    refuse_quantized(source.model, getattr(config, "quantization_config", None))
    return config


def load_generation_config(name: str, config: PreTrainedConfig) -> GenerationConfig:
    """The generation settings saved with a model, else those of its configuration.

    Raises:
        PolicyLoadError: They are damaged.
    """
    path = Path(policy_path(name))
    try:
        return _loaded(name, "generation settings", str(path), GenerationConfig)
    except PolicyLoadError:
        if (path / "generation_config.json").is_file():
            raise
        return GenerationConfig.from_model_config(config)


def load_model(name: str, dtype: str = "float32") -> PreTrainedModel:
    """The policy's weights, on the CPU, in evaluation mode; adapters are merged into their base.

    Args:
        name: See `policy_source`.
        dtype: `float32`, `bfloat16`, `auto` (as saved), or `float64`, for tests of exactness.

    Raises:
        PolicyLoadError: They cannot be loaded, are incomplete or not finite, or belong to a kind of model that is not
            supported.
        ValueError: Unknown data type.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}; choose one of {', '.join(_DTYPES)}.")
    source = policy_source(name)
    refuse_incomplete_files(source.model)
    config = load_model_config(name)
    # Adapters are added in single precision and rounded once.
    single = source.adapters is not None and dtype in ("bfloat16", "auto")
    loaded: Any = _loaded(
        name,
        "model",
        source.model,
        AutoModelForCausalLM,
        dtype=torch.float32 if single else _DTYPES[dtype],
        output_loading_info=True,
    )
    model, report = loaded
    if report["missing_keys"]:
        absent = sorted(report["missing_keys"])
        raise PolicyLoadError(
            f"The weights of {name!r} are incomplete: {len(absent)} tensors, {absent[0]} among them. Copy or download "
            "the model again."
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise PolicyLoadError(
            f"{name!r} holds adapters on the hub; download them (hf download {name} --local-dir FOLDER), and name "
            "FOLDER."
        )
    if source.adapters is not None:
        model = _with_adapters(name, model, source.adapters)
        if single:
            saved = config.get_text_config().dtype
            wanted = torch.bfloat16 if dtype == "bfloat16" else saved
            torch.nn.Module.to(model, dtype=wanted if isinstance(wanted, torch.dtype) else torch.float32)
    model = model.eval()
    refuse_non_finite_weights(name, [*model.named_parameters(), *model.named_buffers()])
    refuse_unsupported_model(name, model)
    return model


def load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copies weights into a model, in the model's precision.

    All trained weights are required. Frozen ones may be missing: those of a model with adapters.

    Args:
        model: A model, or a module that holds one.
        weights: Tensors by their names in its state dict, on any device.

    Raises:
        ValueError: They belong to another model; no weight is copied.
    """
    own = model.state_dict()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for reason, names in (
        ("are unknown to it", set(weights) - set(own)),
        ("are missing", trained - set(weights)),
        ("have another shape", {name for name in set(weights) & set(own) if own[name].shape != weights[name].shape}),
    ):
        if names:
            raise ValueError(
                f"The weights do not fit the model: {len(names)} tensors {reason}, {min(names)} among them. Use those "
                "of the same model, trained in the same way: whole, or by adapters of the same rank and layers."
            )
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


def stop_token_ids(
    model: PreTrainedModel | GenerationConfig | None,
    tokenizer: Any,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> tuple[int, ...]:
    """Tokens that end a response: those of `named_stop_ids`, and the one with which the chat template ends a turn.

    Args:
        model: The model, or its generation settings.
        tokenizer: The policy's.
        chat_template_kwargs: Passed to the chat template.
    """
    end = turn_end(tokenizer, chat_template_kwargs)
    return tuple(sorted(named_stop_ids(model, tokenizer) | ({end} if end is not None else set())))


def named_stop_ids(model: PreTrainedModel | GenerationConfig | None, tokenizer: Any) -> set[int]:
    """The end tokens that the generation settings and the tokenizer name."""
    settings = model if model is None or isinstance(model, GenerationConfig) else model.generation_config
    configured = settings.eos_token_id if settings is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return {int(token) for token in [*ids, tokenizer.eos_token_id] if token is not None}


def _with_adapters(name: str, model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    # Imported here, since importing peft is slow and only adapters need it.
    from sdar_gym.policy.lora import merge_saved

    try:
        return merge_saved(model, folder)
    except _LOAD_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        raise PolicyLoadError(
            f"The adapters of {name!r} do not fit their base {model.config.name_or_path}: {reason} Set "
            "base_model_name_or_path in its adapter_config.json to the model that they were trained on."
        ) from error


def _loaded(name: str, part: str, path: str, kind: Any, **settings: Any) -> Any:
    cached = require_from_hub(path, part)
    try:
        # Code of a model is not run; without the setting, transformers would prompt at the terminal.
        extra = {} if kind is GenerationConfig else {"trust_remote_code": False}
        return kind.from_pretrained(path, local_files_only=cached, **extra, **settings)
    except _LOAD_ERRORS as error:
        reason = first_line(error)
        if "trust_remote_code" in str(error):
            reason = "it needs custom Python code, which is not run."
        raise failed(name, part, reason) from error


def pad_id(tokenizer: Any) -> int:
    """The token that is used for padding."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
