"""Architecture check: batched, cached and prefix-shared log-probabilities must equal those of the plain model.

Engine and learner call a model's body and head separately: padded on the right, with a key-value cache, with an
explicit mask. Each of these is compared with the plain forward pass on a few tokens, so no list of supported
architectures is needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from sdar_gym.paths import first_line
from sdar_gym.policy.chunked_head import head_of
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.decoder_forward import cached_forward
from sdar_gym.policy.errors import NonFiniteWeightsError, PolicyLoadError
from sdar_gym.policy.prefix_caching import LEAST_SHARED, hidden_states
from sdar_gym.policy.slot_cache import SlotCache, SlotPass

_OTHER_MODEL = "use a model that does not, such as Qwen2.5, Qwen3 or Llama."
_ROTARY = "use a model with rotary positions, such as Qwen2.5, Qwen3 or Llama."
# Largest difference of a log-probability, and of a token's whole distribution relative to its norm, by precision.
# Measured in single precision: 1e-6 and 1e-5 for architectures that are scored correctly, .15 and more for others.
_SINGLE, _HALF = (1e-4, 1e-3), (0.05, 0.1)
_LONG, _SHORT, _NEXT, _STEPS = 9, 5, 3, 2


@torch.no_grad()
def refuse_unsupported_model(name: str, model: PreTrainedModel) -> None:
    """Refuse a model that engine or learner would sample or score incorrectly.

    Args:
        name: The model's name, for messages.
        model: The model in evaluation mode.

    Raises:
        PolicyLoadError: It would be scored incorrectly, or cannot be run.
    """
    kind = f"{name!r} ({model.config.model_type})"
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        raise PolicyLoadError(
            f"{kind} has sliding-window attention or a recurrent state; use a model with full "
            "attention, such as Qwen2.5, Qwen3 or Llama."
        )
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise PolicyLoadError(f"{kind} has no linear language-model head; use one such as Qwen2.5, Qwen3 or Llama.")
    rows = _rows(model)
    whole = [model(input_ids=row[None], use_cache=False).logits[0].float() for row in rows]
    if not all(bool(torch.isfinite(logits).all()) for logits in whole):
        raise NonFiniteWeightsError(
            f"{kind} gives logits that are not finite in {model.dtype}, though its weights are; choose another "
            "policy.dtype, or another checkpoint."
        )
    plain = [head(model.base_model(input_ids=row[None], use_cache=False).last_hidden_state[0]) for row in rows]
    if not _equal(plain, whole, model.dtype):
        raise PolicyLoadError(f"{kind} changes its logits after the language-model head; {_OTHER_MODEL}")
    try:
        for way, found, alone in _forward_variants(model, rows, whole):
            if not _equal(found, alone, model.dtype):
                raise PolicyLoadError(
                    f"{kind} gives other log-probabilities {way} than alone: up to {_difference(found, alone)[0]:.2g} "
                    f"apart. Its positions or its mask work differently; {_ROTARY}"
                )
    except PolicyLoadError:
        raise
    except Exception as error:
        # Any exception: the first batch of the run would raise it too.
        raise PolicyLoadError(
            f"{kind} cannot be run with a cache and a mask over padded rows ({type(error).__name__}: "
            f"{first_line(error)}); {_ROTARY}"
        ) from error


def _rows(model: PreTrainedModel) -> list[torch.Tensor]:
    """Two rows of different lengths without special tokens, since the embedding of a padding token is 0."""
    config = model.config.get_text_config()
    special: set[int] = set()
    for token in (config.pad_token_id, config.bos_token_id, config.eos_token_id):
        special.update(token if isinstance(token, list) else [token])
    ordinary = [token for token in range(config.vocab_size) if token not in special]
    generator = torch.Generator().manual_seed(0)
    device = model.device
    return [
        torch.tensor(ordinary, device=device)[torch.randint(len(ordinary), (size,), generator=generator).to(device)]
        for size in (_LONG + _NEXT + _STEPS, _SHORT + _NEXT + _STEPS)
    ]


def _sampled(model: PreTrainedModel, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    """Logits as the engine computes them, by its own forward pass and cache."""
    forward, head, cache = cached_forward(model), head_of(model), SlotCache(model.config)
    longest = max(map(len, rows))
    cache.reserve(len(rows), longest, expected=longest, limit=longest, budget=len(rows) * longest)
    parts: list[list[torch.Tensor]] = [[] for _ in rows]
    starts = [0] * len(rows)
    # Two prompts of different lengths, then more tokens of each, as after a turn, then one at a time.
    for counts in ([len(row) - _NEXT - _STEPS for row in rows], [_NEXT, _NEXT - 1], *[[1, 1]] * _STEPS, [0, 1]):
        taken = [number for number, count in enumerate(counts) if count]
        given = [rows[number][starts[number] : starts[number] + counts[number]] for number in taken]
        some = SlotPass(taken, [starts[n] for n in taken], [counts[n] for n in taken], model.device)
        hidden = forward(_padded(given), some, cache)
        for number, states in zip(taken, hidden, strict=True):
            parts[number].append(head(states[: counts[number]]))
            starts[number] += counts[number]
    return [torch.cat(part) for part in parts]


def _forward_variants(
    model: PreTrainedModel, rows: list[torch.Tensor], whole: list[torch.Tensor]
) -> Iterator[tuple[str, list[torch.Tensor], list[torch.Tensor]]]:
    """Each variant of the forward pass: its description, the logits of the rows, and those of the plain model."""
    yield "sampled in a batch", _sampled(model, rows), whole
    head = head_of(model)
    hidden = model.base_model(input_ids=_padded(rows), use_cache=False).last_hidden_state
    yield "scored in a batch", [head(states[: len(row)]) for states, row in zip(hidden, rows, strict=True)], whole
    start = rows[0].repeat(LEAST_SHARED // len(rows[0]) + 1)
    longer = [torch.cat([start, row]) for row in rows]
    length = context_length(model.config)
    if length is not None and length < len(longer[0]):
        return
    prompts = torch.full((len(rows),), len(start) + 1, device=model.device)
    hidden, first = hidden_states(model, _padded(longer), prompts)
    alone = [model(input_ids=row[None], use_cache=False).logits[0, first:] for row in longer]
    found = [head(states[: len(row) - first]) for states, row in zip(hidden, longer, strict=True)]
    yield "after a shared prompt prefix", found, alone


def _padded(rows: list[torch.Tensor]) -> torch.Tensor:
    # Padded with an ordinary token: masking must hide any token.
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=int(rows[0][0]))


def _equal(found: list[torch.Tensor], whole: list[torch.Tensor], dtype: torch.dtype) -> bool:
    absolute, relative = _HALF if dtype in (torch.bfloat16, torch.float16) else _SINGLE
    largest, share = _difference(found, whole)
    # Comparisons with NaN are false, so NaN counts as different.
    return largest <= absolute or share <= relative


def _difference(found: list[torch.Tensor], whole: list[torch.Tensor]) -> tuple[float, float]:
    """Largest difference of log-probabilities, and of a token's centered distribution relative to its norm."""
    one = torch.cat([logits.float() for logits in found]).log_softmax(dim=-1)
    other = torch.cat([logits.float() for logits in whole]).log_softmax(dim=-1)
    spread = other - other.mean(dim=-1, keepdim=True)
    gap = one - one.mean(dim=-1, keepdim=True) - spread
    return float((one - other).abs().max()), float((gap.norm(dim=-1) / spread.norm(dim=-1)).max())
