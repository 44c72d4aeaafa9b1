"""The default engine: any `transformers` causal language model, in this process.

Prompts are right-padded (no left padding: token i has position i), a prompt that occurs several times is prefilled
once, and finished rows leave the batch. Every request has its own stream of random numbers, so its draws do not depend
on the other rows or on their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers import DynamicCache, PreTrainedModel

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.policy.batching import budget_batches, right_padded
from sdar_gym.policy.chat import unusable_ids
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.errors import NonFiniteWeightsError
from sdar_gym.policy.load import load_weights, pad_id, stop_token_ids
from sdar_gym.policy.policy_model import load_policy_model
from sdar_gym.policy.sizing import default_batch_tokens, set_threads
from sdar_gym.policy.transformers_compat import cache_argument
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.registry import EngineSpec


def from_spec(spec: EngineSpec) -> TransformersEngine:
    """Loads the policy and builds the engine around it.

    Args:
        spec: Model, settings and device.

    Raises:
        ValueError: The policy cannot be loaded.
    """
    model, _, _ = load_policy_model(spec.policy.model, spec.policy.dtype, spec.policy.lora, trained=False)
    torch.nn.Module.to(model, spec.device)
    set_threads(spec.policy.torch_threads, model, spec.processes)
    return engine_of(model, spec.tokenizer, spec.rollout)


def engine_of(model: PreTrainedModel, tokenizer: Any, rollout: RolloutSettings | None = None) -> TransformersEngine:
    """Builds an engine around a loaded model, on the model's device.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        rollout: Settings of the chat template and of the batch; None for the defaults.
    """
    rollout = rollout or RolloutSettings()
    return TransformersEngine(
        model,
        stop_ids=stop_token_ids(model, tokenizer, rollout.chat_template_kwargs),
        pad_id=pad_id(tokenizer),
        forbidden_ids=unusable_ids(tokenizer, model.config.get_text_config().vocab_size),
        max_batch_tokens=rollout.max_batch_tokens or default_batch_tokens(model),
    )


class TransformersEngine(Engine):
    """An engine around a `transformers` model in this process, which it may share with others.

    Args:
        model: The causal language model.
        stop_ids: Tokens that end a response.
        forbidden_ids: Tokens that are never sampled: rows of the head that stand for no token.
        pad_id: Any token; it is never attended to.
        max_batch_tokens: Prompt tokens read at once; bounds the memory.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        stop_ids: Sequence[int],
        pad_id: int,
        forbidden_ids: Sequence[int] = (),
        max_batch_tokens: int = 32_768,
    ):
        self._model = model
        self.stop_ids = tuple(sorted(set(stop_ids)))
        self._stop_ids = torch.tensor(self.stop_ids, device=model.device)
        self._forbidden = torch.tensor(sorted(set(forbidden_ids)), dtype=torch.long, device=model.device)
        self._pad_id = pad_id
        self._max_batch_tokens = max_batch_tokens
        self._version = 0

    def update_weights(self, state_dict: Mapping[str, torch.Tensor], version: int) -> None:
        """Loads new weights in the model's precision; no cache outlives a call of `generate`.

        Args:
            state_dict: All weights, or those of the adapters if the model has adapters.
            version: Returned with every response from now on.

        Raises:
            ValueError: They belong to another model.
        """
        load_weights(self._model, state_dict)
        self._version = version

    def info(self) -> dict[str, Any]:
        """Backend, version, data type, longest sequence."""
        return {
            "backend": "transformers",
            "version": transformers.__version__,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "max_len": context_length(self._model.config),
        }

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        """One response per request, in order."""
        results: list[GenerationResult | None] = [None] * len(requests)
        was_training = self._model.training
        self._model.eval()
        try:
            for rows in self._batches(requests):
                for row, result in zip(rows, self._generate([requests[r] for r in rows], params), strict=True):
                    results[row] = result
        finally:
            self._model.train(was_training)
        return [result for result in results if result is not None]

    def close(self) -> None:
        """Nothing to free: the model belongs to this process."""

    def _batches(self, requests: Sequence[GenerationRequest]) -> Iterator[list[int]]:
        """Batches of rows with similar lengths, to keep padding small."""
        lengths = [len(request.prompt_ids) for request in requests]
        for rows, _ in budget_batches(range(len(requests)), lengths, self._max_batch_tokens):
            yield rows.tolist()

    def _generate(self, requests: list[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        device = self._model.device
        unique = {tuple(request.prompt_ids): None for request in requests}
        position = {prompt: index for index, prompt in enumerate(unique)}
        copies = torch.tensor([position[tuple(request.prompt_ids)] for request in requests], device=device)
        lengths = torch.tensor([len(prompt) for prompt in unique], device=device)
        width = int(lengths.max())
        prompts = torch.from_numpy(right_padded(list(unique), self._pad_id)).to(device)

        cache = DynamicCache(config=self._model.config)
        body = self._model.base_model
        # No mask: with padding on the right, causal attention keeps every real token from seeing any of it.
        hidden = body(input_ids=prompts, use_cache=True, **cache_argument(body, cache)).last_hidden_state
        last = hidden[torch.arange(len(unique), device=device), lengths - 1]
        logits = self._head(last)[copies]
        cache.batch_select_indices(copies)
        lengths = lengths[copies]
        seen = torch.arange(width, device=device)[None, :] < lengths[:, None]

        # One uniform number per token, drawn up front from the request's own stream.
        uniforms = np.stack([np.random.Generator(np.random.Philox(r.seed)).random(params.max_tokens) for r in requests])
        tokens: list[list[int]] = [[] for _ in requests]
        logprobs: list[list[float]] = [[] for _ in requests]
        stopped = [False] * len(requests)
        rows = torch.arange(len(requests), device=device)
        for step in range(params.max_tokens):
            drawn, drawn_logprobs = _sample(
                logits, params.temperature, torch.from_numpy(uniforms[rows.cpu().numpy(), step]), self._forbidden
            )
            ended = torch.isin(drawn, self._stop_ids)
            for row, token, logprob, end in zip(
                rows.tolist(), drawn.tolist(), drawn_logprobs.tolist(), ended.tolist(), strict=True
            ):
                tokens[row].append(token)
                logprobs[row].append(logprob)
                stopped[row] = end
            running = ~ended
            if step + 1 == params.max_tokens or not bool(running.any()):
                break
            if not bool(running.all()):
                kept = running.nonzero().squeeze(1)
                rows, drawn, lengths, seen = rows[kept], drawn[kept], lengths[kept], seen[kept]
                cache.batch_select_indices(kept)
            seen = torch.cat([seen, torch.ones(len(rows), 1, dtype=torch.bool, device=device)], dim=1)
            hidden = body(
                input_ids=drawn[:, None],
                use_cache=True,
                **cache_argument(body, cache),
                position_ids=(lengths + step)[:, None],
                attention_mask=seen[:, None, None, :],
            ).last_hidden_state
            logits = self._head(hidden[:, -1])
        return [
            GenerationResult(tokens[row], logprobs[row], "stop" if stopped[row] else "length", self._version)
            for row in range(len(requests))
        ]

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        head = self._model.get_output_embeddings()
        if head is None:
            raise ValueError(f"{type(self._model).__name__} has no language-model head.")
        return head(hidden).float()


def _sample(
    logits: torch.Tensor, temperature: float, uniform: torch.Tensor, forbidden: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws one token per row by inverting the cumulative distribution at `uniform`.

    Args:
        logits: [rows, vocabulary], float32.
        temperature: 0 takes the most likely token.
        uniform: [rows], in [0, 1), float64.
        forbidden: Tokens that are not drawn. Log-probabilities are those of the whole vocabulary all the same, as the
            learner computes them.

    Returns:
        Tokens and their log-probabilities, both [rows].

    Raises:
        NonFiniteWeightsError: A logit is nan. Comparisons with nan are false, so an arbitrary token would be drawn.
    """
    if bool(torch.isnan(logits).any()):
        raise NonFiniteWeightsError(
            "The model's logits are not numbers (nan): its weights have diverged, or half precision overflowed. Go "
            "back to the last good checkpoint with a lower training.lr, or use policy.dtype=bfloat16 or float32."
        )
    logp = torch.log_softmax(logits / temperature if temperature > 0 else logits, dim=-1)
    if temperature == 0:
        drawn = logp.index_fill(1, forbidden, -torch.inf).argmax(dim=-1)
    else:
        cumulative = logp.double().exp().index_fill(1, forbidden, 0.0).cumsum(dim=-1)
        # Scaled by the total, since rounding may leave it a little above or below 1.
        mark = uniform.to(logits.device)[:, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, mark, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)
    return drawn, logp.gather(1, drawn[:, None]).squeeze(1)
