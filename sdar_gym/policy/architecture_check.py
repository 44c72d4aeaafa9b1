"""Refuses models whose sampled or scored log-probabilities would not be their own.

Engine and learner run a model's body and head by themselves: padded on the right, with a cache, with a mask of their
own. Each of these ways is tried on a few tokens against the whole model, so that no list of architectures is needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from sdar_gym.paths import first_line
from sdar_gym.policy.chunked_head import head_of
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.errors import NonFiniteWeightsError, PolicyLoadError
from sdar_gym.policy.prefix_caching import LEAST_SHARED, hidden_states
from sdar_gym.policy.transformers_compat import cache_argument

_TAKE = "use a model that does not, such as Qwen2.5, Qwen3 or Llama."
_ROTARY = "use a model with rotary positions, such as Qwen2.5, Qwen3 or Llama."
# Largest difference of a log-probability, and of a token's whole distribution relative to its size, by precision.
# Architectures that are scored right were at 1e-6 and 1e-5 in single precision, wrong ones at .15 and more.
_SINGLE, _HALF = (1e-4, 1e-3), (0.05, 0.1)
_LONG, _SHORT, _STEPS = 9, 5, 2


@torch.no_grad()
def refuse_unsupported_model(name: str, model: PreTrainedModel) -> None:
    """Compare every way in which the gym runs a model with the whole model.

    Args:
        name: Of the model, for messages.
        model: In evaluation mode.

    Raises:
        PolicyLoadError: It would be scored wrong, or not at all.
    """
    kind = f"{name!r} ({model.config.model_type})"
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        raise PolicyLoadError(
            f"{kind} looks at its text through a sliding window or keeps a recurrent state; use a model with full "
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
        raise PolicyLoadError(f"{kind} changes its logits after the language-model head; {_TAKE}")
    try:
        for way, found, alone in _ways(model, rows, whole):
            if not _equal(found, alone, model.dtype):
                raise PolicyLoadError(
                    f"{kind} gives other log-probabilities {way} than alone: up to {_difference(found, alone)[0]:.2g} "
                    f"apart. Its positions or its mask work in another way; {_ROTARY}"
                )
    except PolicyLoadError:
        raise
    except Exception as error:
        # Whatever it is, the first batch of the run would end with it.
        raise PolicyLoadError(
            f"{kind} cannot be run with a cache and a mask over padded rows ({type(error).__name__}: "
            f"{first_line(error)}); {_ROTARY}"
        ) from error


def _rows(model: PreTrainedModel) -> list[torch.Tensor]:
    """Two rows of different lengths, of different tokens; none is special, since a padding token's embedding is 0."""
    config = model.config.get_text_config()
    special: set[int] = set()
    for token in (config.pad_token_id, config.bos_token_id, config.eos_token_id):
        special.update(token if isinstance(token, list) else [token])
    ordinary = [token for token in range(config.vocab_size) if token not in special]
    generator = torch.Generator().manual_seed(0)
    device = model.device
    return [
        torch.tensor(ordinary, device=device)[torch.randint(len(ordinary), (size,), generator=generator).to(device)]
        for size in (_LONG + _STEPS, _SHORT + _STEPS)
    ]


def _sampled(model: PreTrainedModel, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    """Logits as the engine gets them: prompts in one padded batch, then token after token."""
    body, head = model.base_model, head_of(model)
    prompts = [row[:-_STEPS] for row in rows]
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    padded = _padded(prompts)
    cache = DynamicCache(config=model.config)
    hidden = body(input_ids=padded, use_cache=True, **cache_argument(body, cache)).last_hidden_state
    parts = [[head(states[: len(prompt)])] for states, prompt in zip(hidden, prompts, strict=True)]
    seen = torch.arange(padded.shape[1], device=model.device)[None, :] < lengths[:, None]
    for step in range(_STEPS):
        seen = torch.cat([seen, seen.new_ones(len(rows), 1)], dim=1)
        hidden = body(
            input_ids=torch.stack([row[len(row) - _STEPS + step] for row in rows])[:, None],
            use_cache=True,
            position_ids=(lengths + step)[:, None],
            attention_mask=seen[:, None, None, :],
            **cache_argument(body, cache),
        ).last_hidden_state
        for part, states in zip(parts, hidden, strict=True):
            part.append(head(states))
    return [torch.cat(part) for part in parts]


def _ways(
    model: PreTrainedModel, rows: list[torch.Tensor], whole: list[torch.Tensor]
) -> Iterator[tuple[str, list[torch.Tensor], list[torch.Tensor]]]:
    """Each way of running the model in words, the logits of the rows in it, and those of the whole model."""
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
    yield "below a common beginning", found, alone


def _padded(rows: list[torch.Tensor]) -> torch.Tensor:
    # Padded with an ordinary token: it must not be seen, whatever it is.
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=int(rows[0][0]))


def _equal(found: list[torch.Tensor], whole: list[torch.Tensor], dtype: torch.dtype) -> bool:
    absolute, relative = _HALF if dtype in (torch.bfloat16, torch.float16) else _SINGLE
    largest, share = _difference(found, whole)
    # A comparison with nan is false, and then they are not equal.
    return largest <= absolute or share <= relative


def _difference(found: list[torch.Tensor], whole: list[torch.Tensor]) -> tuple[float, float]:
    """Largest difference of log-probabilities, and of a token's distribution in relation to its spread."""
    one = torch.cat([logits.float() for logits in found]).log_softmax(dim=-1)
    other = torch.cat([logits.float() for logits in whole]).log_softmax(dim=-1)
    spread = other - other.mean(dim=-1, keepdim=True)
    gap = one - one.mean(dim=-1, keepdim=True) - spread
    return float((one - other).abs().max()), float((gap.norm(dim=-1) / spread.norm(dim=-1)).max())
