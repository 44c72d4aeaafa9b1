"""Model sizes for a plan: weights in matrix products, attention width, adapters; from the configuration alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from sdar_gym.policy.chunked_head import head_of
from sdar_gym.policy.load import load_model_config
from sdar_gym.policy.sizing import Shape, empty_model, shape_of


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes that a plan needs.

    Attributes:
        shape: Parameters, layers and widths.
        body: Weights in the matrix products of the layers, embedding and head left out.
        head: Weights of the language-model head.
        query_width: Heads times their width.
        linear_ends: Sum of inputs and outputs of the layers' matrix products: a LoRA adapter of rank r on all of them
            has r times as many weights.
    """

    shape: Shape
    body: int
    head: int
    query_width: int
    linear_ends: int


def model_size(name: str) -> ModelSize:
    """The sizes of a policy by name; no weights are loaded.

    Raises:
        PolicyLoadError: Its configuration cannot be loaded.
    """
    return size_of(empty_model(load_model_config(name)))


def size_of(model: PreTrainedModel) -> ModelSize:
    """The sizes of a model, loaded or on the `meta` device."""
    config = model.config.get_text_config()
    head = head_of(model)
    linear = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part is not head]
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return ModelSize(
        shape=shape_of(model),
        body=sum(part.weight.numel() for part in linear),
        head=head.weight.numel(),
        query_width=heads * width,
        linear_ends=sum(part.in_features + part.out_features for part in linear),
    )
