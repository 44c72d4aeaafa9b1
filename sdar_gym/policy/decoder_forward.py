"""Forward passes over a slot cache: of any decoder by its own module, of Qwen2, Qwen3 and Llama by fewer operations.

The short form computes what the module computes and reads the module's own weights, so it costs no memory and never is
out of date. It leaves out what makes the module slow for a few tokens: masks built anew in every pass, keys and values
repeated for every query head, norms of five operations, and rotations of queries and keys one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM, Qwen3ForCausalLM

from sdar_gym.policy.slot_cache import SlotCache, SlotPass
from sdar_gym.policy.transformers_compat import cache_argument

# Takes token ids, [rows, new tokens], padded on the right; returns their last hidden states.
CachedForward = Callable[[torch.Tensor, SlotPass, SlotCache], torch.Tensor]
_FAMILIES = (Qwen2ForCausalLM, Qwen3ForCausalLM, LlamaForCausalLM)


def cached_forward(model: PreTrainedModel) -> CachedForward:
    """The fastest forward pass that is right for a model.

    Args:
        model: A causal language model with full attention.
    """
    return _short(model) if _has_short_form(model) else _stock(model)


def _stock(model: PreTrainedModel) -> CachedForward:
    """The module's own forward pass."""
    body = model.base_model
    # Eager attention adds the mask to the products.
    added = model.config._attn_implementation == "eager"

    def forward(ids: torch.Tensor, rows: SlotPass, cache: SlotCache) -> torch.Tensor:
        cache.begin(rows)
        arguments: dict[str, Any] = {}
        if not rows.fresh:
            mask = rows.mask_B1ST
            if mask is None:
                mask = torch.ones(len(ids), 1, 1, rows.longest, dtype=torch.bool, device=ids.device)
            if added:
                least = torch.finfo(model.dtype).min
                mask = torch.zeros_like(mask, dtype=model.dtype).masked_fill_(~mask, least)
            arguments = {"position_ids": rows.position_ids_BS, "attention_mask": mask}
        # No mask for fresh rows: with padding on the right, causal attention keeps every token from seeing any of it.
        return body(input_ids=ids, use_cache=True, **arguments, **cache_argument(body, cache)).last_hidden_state

    return forward


def _has_short_form(model: PreTrainedModel) -> bool:
    """Whether a model is of a known family, with its plain layers: adapters replace them."""
    if type(model) not in _FAMILIES or model.config._attn_implementation != "sdpa":
        return False
    attentions = [layer.self_attn for layer in model.model.layers]
    projections = (getattr(a, name) for a in attentions for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
    return all(type(projection) is nn.Linear for projection in projections)


def _short(model: PreTrainedModel) -> CachedForward:
    body: Any = model.base_model
    single = model.dtype == torch.float32

    def norm(module: Any, states: torch.Tensor) -> torch.Tensor:
        # In half precision the fused norm rounds otherwise than the module.
        if single:
            return F.rms_norm(states, module.weight.shape, module.weight, module.variance_epsilon)
        return module(states)

    def forward(ids: torch.Tensor, rows: SlotPass, cache: SlotCache) -> torch.Tensor:
        cache.begin(rows)
        hidden = body.embed_tokens(ids)
        cos, sin = body.rotary_emb(hidden, rows.position_ids_BS)
        half = cos.shape[-1] // 2
        # One factor for the swapped halves: the first is subtracted.
        cos = cos[:, :, None]
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[:, :, None]
        for index, layer in enumerate(body.layers):
            attention = layer.self_attn
            states = norm(layer.input_layernorm, hidden)
            shape = (*ids.shape, -1, attention.head_dim)
            query = attention.q_proj(states).view(shape)
            key = attention.k_proj(states).view(shape)
            value = attention.v_proj(states).view(shape).transpose(1, 2)
            if hasattr(attention, "q_norm"):
                query, key = norm(attention.q_norm, query), norm(attention.k_norm, key)
            both = torch.cat([query, key], dim=2)
            both = both * cos + both.roll(half, dims=-1) * sin
            heads = query.shape[2]
            keys, values = cache.update(both[:, :, heads:].transpose(1, 2), value, index)
            mixed = _attend(both[:, :, :heads], keys, values, rows, attention.scaling)
            hidden = hidden + attention.o_proj(mixed)
            hidden = hidden + layer.mlp(norm(layer.post_attention_layernorm, hidden))
        return norm(body.norm, hidden)

    return forward


def _attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rows: SlotPass, scale: float
) -> torch.Tensor:
    """Attention in groups of query heads.

    Args:
        query: [rows, new tokens, query heads, width of a head].
        keys: [rows, key heads, tokens, width of a head].
        values: As the keys.
        rows: With the mask.
        scale: Factor of the products.

    Returns:
        [rows, new tokens, all heads' values].
    """
    size, new, heads, width = query.shape
    if rows.fresh:
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), keys, values, is_causal=True, scale=scale, enable_gqa=heads != keys.shape[1]
        )
        return mixed.transpose(1, 2).reshape(size, new, heads * width)
    # The query heads of a group are as many queries of one key head, so that keys and values are not repeated.
    groups, members = keys.shape[1], heads // keys.shape[1]
    packed = query.view(size, new, groups, members, width).permute(0, 2, 3, 1, 4).reshape(size, groups, -1, width)
    mask = rows.mask_B1ST
    if mask is not None and new > 1:
        mask = mask.repeat(1, 1, members, 1)
    mixed = F.scaled_dot_product_attention(packed, keys, values, attn_mask=mask, scale=scale)
    return mixed.view(size, groups, members, new, width).permute(0, 3, 1, 2, 4).reshape(size, new, heads * width)
