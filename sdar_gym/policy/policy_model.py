"""The policy's model as it is trained or sampled from: precision, LoRA adapters, gradient checkpointing, export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from sdar_gym.configs.sections import LoraSettings
from sdar_gym.policy.load import load_model, load_weights

if TYPE_CHECKING:
    from sdar_gym.policy.lora import Adapters


def load_policy_model(
    name: str, dtype: str, lora: LoraSettings | None, *, trained: bool, half_weights: bool = False
) -> tuple[PreTrainedModel, Adapters | None, torch.dtype | None]:
    """Loads a policy.

    Args:
        name: The model.
        dtype: Its precision, as in `policy.dtype`.
        lora: Settings of its adapters, or None.
        trained: Whether it is trained here; a model that is trained as a whole is kept in single precision.
        half_weights: Keeps it in its own precision in any case; its optimizer must keep master weights.

    Returns:
        The model, its adapters (or None), and the half-precision type in which it computes if it is kept in single
        precision.

    Raises:
        ValueError: It cannot be loaded, or would be trained in float16.
    """
    model, compute_dtype = _load(name, dtype, single=lora is None and trained and not half_weights)
    return model, None if lora is None else _adapters(model, lora), compute_dtype


def merged_policy(name: str, dtype: str, lora: LoraSettings | None, state: Mapping[str, torch.Tensor]) -> Any:
    """The policy as an ordinary `transformers` model, for export.

    Args:
        name: The model that training began with.
        dtype: Its precision, as in `policy.dtype`.
        lora: Its adapters' settings, or None.
        state: What `PolicyModule.get_state` returned.

    Returns:
        The model in the precision of its runners, adapters merged into the weights. In half precision merging rounds,
        as a sum of weight and adapter in half precision must.
    """
    model, compute_dtype = _load(name, dtype, single=True)
    adapters = None if lora is None else _adapters(model, lora)
    load_weights(model, {key.removeprefix("model."): torch.as_tensor(value) for key, value in state.items()})
    if adapters is not None:
        model = adapters.merged()
    return model if compute_dtype is None else torch.nn.Module.to(model, dtype=compute_dtype)


def _load(name: str, dtype: str, *, single: bool) -> tuple[PreTrainedModel, torch.dtype | None]:
    """The model, and the half-precision type in which it computes if `dtype` is half but weights are kept in single."""
    # Weights saved in single precision are not rounded to half precision on the way.
    model = load_model(name, "float32" if single and dtype == "bfloat16" else dtype)
    compute = torch.bfloat16 if dtype == "bfloat16" else model.dtype
    if compute == torch.float16:
        raise ValueError(
            f"policy.dtype={dtype} takes {name} in float16; its gradients vanish without loss scaling, so choose "
            "policy.dtype=bfloat16 or float32."
        )
    if not single or compute != torch.bfloat16:
        return model, None
    return model.float(), compute


def _adapters(model: PreTrainedModel, settings: LoraSettings) -> Adapters:
    # Imported here, since importing peft is slow and only adapters need it.
    from sdar_gym.policy.lora import Adapters

    return Adapters(model, **asdict(settings))


def recompute_activations(model: PreTrainedModel) -> None:
    """Gradient checkpointing: keeps a layer's input instead of its activations, in training mode."""
    # Named differently in the supported releases of `transformers`. Non-reentrant checkpointing needs no gradient at
    # the inputs of layers, which adapters do not give, and keeps autocast and DDP as they were in the forward pass.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def on_cpu(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Copies tensors to the CPU, floats in the given precision; tied weights stay one tensor and are pickled once."""
    copies: dict[tuple[int, torch.Size], torch.Tensor] = {}
    result = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.shape)
        if place not in copies:
            wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            copies[place] = tensor.detach().to("cpu", wanted, copy=True)
        result[name] = copies[place]
    return result
