"""The default engine: any `transformers` causal language model, in this process.

Conversations run in slots of one preallocated cache (`policy/slot_cache.py`). Finished ones leave at once and waiting
ones enter (continuous batching); a prompt that continues what its slot holds is read from there on. Every request has
its own stream of random numbers, so its draws do not depend on the other rows or on their order.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.faults import note_fault
from sdar_gym.policy.chat import unusable_ids
from sdar_gym.policy.chunked_head import head_of
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.decoder_forward import cached_forward
from sdar_gym.policy.load import load_weights, pad_id, stop_token_ids
from sdar_gym.policy.policy_model import load_policy_model
from sdar_gym.policy.sizing import default_batch_tokens, default_cache_tokens, set_threads
from sdar_gym.policy.slot_cache import SlotCache, SlotPass, least_capacity
from sdar_gym.rollout.engines.base import Continuation, Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.out_of_memory import EngineMemoryError, is_out_of_memory
from sdar_gym.rollout.engines.prefill import Prefill
from sdar_gym.rollout.engines.registry import EngineSpec
from sdar_gym.rollout.engines.sampling import sample
from sdar_gym.rollout.engines.slot_table import Run, Slot, SlotTable
from sdar_gym.rollout.time_limits import progress

logger = logging.getLogger(__name__)

# Conversations enter as long as this share of the cache holds them, so that they have room to grow.
_ENTRY_SHARE = 0.5
# No limit, for models that have none.
_UNLIMITED = 1 << 40
# A cache this small is kept for the next call in main memory, which is slow to give and take.
_KEPT_BYTES = 256 << 20


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
    batch_tokens = rollout.max_batch_tokens or default_batch_tokens(model)
    return TransformersEngine(
        model,
        stop_ids=stop_token_ids(model, tokenizer, rollout.chat_template_kwargs),
        pad_id=pad_id(tokenizer),
        forbidden_ids=unusable_ids(tokenizer, model.config.get_text_config().vocab_size),
        max_batch_tokens=batch_tokens,
        max_cache_tokens=max(batch_tokens, default_cache_tokens(model)),
    )


class TransformersEngine(Engine):
    """An engine around a `transformers` model in this process, which it may share with others.

    A model whose weights change other than by `update_weights` must have no open sessions.

    Args:
        model: The causal language model, with full attention.
        stop_ids: Tokens that end a response.
        forbidden_ids: Tokens that are never sampled: rows of the head that stand for no token.
        pad_id: Any token; it is never attended to.
        max_batch_tokens: Prompt tokens read at once, padding included.
        max_cache_tokens: Tokens of all slots of the cache, running conversations and waiting sessions together. One
            conversation runs always; others wait until there is room for them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        stop_ids: Sequence[int],
        pad_id: int,
        forbidden_ids: Sequence[int] = (),
        max_batch_tokens: int = 32_768,
        max_cache_tokens: int = 131_072,
    ):
        self._model = model
        self.stop_ids = tuple(sorted(set(stop_ids)))
        self._stops = frozenset(self.stop_ids)
        self._forbidden = torch.tensor(sorted(set(forbidden_ids)), dtype=torch.long, device=model.device)
        self._max_cache_tokens = max_cache_tokens
        self._context_length = context_length(model.config)
        self._version = 0
        self._cache = SlotCache(model.config)
        self._table = SlotTable(self._cache)
        self._forward = cached_forward(model)
        self._prefill = Prefill(
            self._forward, self._cache, device=model.device, pad_id=pad_id, token_budget=max_batch_tokens
        )
        self._busy = False
        # Conversations that run or are about to.
        self._at_once = 0

    def update_weights(self, state_dict: Mapping[str, torch.Tensor], version: int) -> None:
        """Loads new weights in the model's precision and forgets all sessions.

        Args:
            state_dict: All weights, or those of the adapters if the model has adapters.
            version: Returned with every response from now on.

        Raises:
            ValueError: They belong to another model.
        """
        load_weights(self._model, state_dict)
        self._version = version
        self.reset_cache()

    def info(self) -> dict[str, Any]:
        """Backend, version, data type, longest sequence."""
        return {
            "backend": "transformers",
            "version": transformers.__version__,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "max_len": self._context_length,
        }

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        """One response per request, in order; sessions stay open."""
        results: list[GenerationResult | None] = [None] * len(requests)

        def note(number: int, result: GenerationResult) -> None:
            results[number] = result

        self._play(requests, params, note, keep=True)
        return [result for result in results if result is not None]

    def converse(self, requests: Sequence[GenerationRequest], params: SamplingParams, then: Continuation) -> None:
        """Continues every conversation as soon as its response is finished, in the same slot.

        `then` is called in the order in which responses finish, and by position where several finish at once.
        """
        self._play(requests, params, then, keep=False)

    def close_session(self, session: str) -> None:
        """Frees what is kept of a conversation."""
        self._table.close(session)
        self._give_back()

    def reset_cache(self) -> None:
        """Frees all kept keys and values, sessions included.

        Raises:
            RuntimeError: Conversations are running.
        """
        self._refuse_if_busy()
        self._table.clear()
        self._cache.free()

    def sleep(self) -> None:
        """Frees the cache; the model belongs to this process and stays."""
        self.reset_cache()

    def close(self) -> None:
        """Frees the cache; the model belongs to this process."""
        self.reset_cache()

    def _play(
        self, requests: Sequence[GenerationRequest], params: SamplingParams, then: Continuation, *, keep: bool
    ) -> None:
        self._refuse_if_busy()
        waiting = [self._run_of(number, request, params) for number, request in enumerate(requests)]
        names = [request.session for request in requests if request.session is not None]
        if len(set(names)) < len(names):
            raise ValueError("Two requests name the same session; a conversation has one prompt at a time.")
        # By length, so that rows that run together are of similar length and equal prompts enter together.
        queue = deque(sorted(waiting, key=lambda run: len(run.request.prompt_ids)))
        with self._playing():
            following: list[Slot] = []
            while queue or self._table.running:
                self._postpone(queue)
                progress()
                try:
                    ended = self._advance(following, queue, params)
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    # The handler's frame keeps the tensors of the failed pass: go on outside.
                    ended = None
                following = self._split(queue) if ended is None else self._finish(ended, params, then, keep)

    def _advance(self, following: Sequence[Slot], queue: deque[Run], params: SamplingParams) -> list[Slot]:
        """Reads prompts that are new, or samples a token everywhere; returns the slots whose responses have ended."""
        reading = [slot for slot in following if slot.run is not None] + self._admit(queue, params)
        if reading:
            return self._draw(reading, self._read(reading, params), params)
        reading = list(self._table.running)
        return self._draw(reading, self._decode(reading, params), params)

    def _split(self, queue: deque[Run]) -> list[Slot]:
        """Out of memory: halves what is computed at once, from now on, and begins all running responses anew.

        What was sampled of a response stays, and its tokens are read again.

        Returns:
            The slots that go on with a new prompt: none.

        Raises:
            EngineMemoryError: A single conversation does not fit.
        """
        running = [slot.run for slot in self._table.running if slot.run is not None]
        if self._at_once <= 1:
            length = max((run.length for run in running), default=0)
            raise EngineMemoryError(
                f"The engine is out of memory with one conversation of {length} tokens: shorten prompts "
                "(rollout.max_prompt_tokens, rollout.max_context_tokens), or use a device with more memory."
            )
        queue.extendleft(reversed(running))
        for run in running:
            if not run.tokens:
                run.cached = 0
        self._table.clear()
        self._cache.free()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        self._max_cache_tokens = max(1, self._max_cache_tokens // 2)
        self._prefill.token_budget = max(1, self._prefill.token_budget // 2)
        note_fault("engine_out_of_memory")
        logger.warning(
            "The engine was out of memory with %d conversations at once; it goes on with %d prompt tokens a batch "
            "(rollout.max_batch_tokens) and %d cached tokens.",
            self._at_once,
            self._prefill.token_budget,
            self._max_cache_tokens,
        )
        return []

    @contextmanager
    def _playing(self) -> Iterator[None]:
        was_training = self._model.training
        self._model.eval()
        self._busy = True
        complete = False
        try:
            yield
            complete = True
        finally:
            self._busy = False
            self._model.train(was_training)
            if not complete:
                # Also what may have been read with weights that are not finite.
                self.reset_cache()
            self._give_back()

    def _run_of(self, number: int, request: GenerationRequest, params: SamplingParams) -> Run:
        length, limit = len(request.prompt_ids), params.max_tokens
        if not length:
            raise ValueError("The prompt of a request is empty; a response needs at least one token before it.")
        if self._context_length is not None:
            if length >= self._context_length:
                raise ValueError(
                    f"The prompt has {length} tokens and the model's context length is {self._context_length}: no "
                    "token is left for the response. Shorten prompts (rollout.max_prompt_tokens, "
                    "rollout.max_context_tokens)."
                )
            limit = min(limit, self._context_length - length)
        # One uniform number per token, drawn up front from the request's own stream.
        uniforms = np.random.Generator(np.random.Philox(request.seed)).random(limit)
        return Run(number, request, limit, uniforms)

    def _postpone(self, queue: deque[Run]) -> None:
        """Makes running conversations wait, the last ones first, until those that run fit the cache."""
        while len(self._table.running) > 1:
            running = self._table.running
            if len(running) * least_capacity(_longest(running) + 1) <= self._max_cache_tokens:
                return
            last = running[-1]
            assert last.run is not None
            queue.appendleft(last.run)
            self._table.stop(last, keep=True)

    def _admit(self, queue: deque[Run], params: SamplingParams) -> list[Slot]:
        """Starts waiting conversations while they and those that run fit a share of the cache, but at least one."""
        running = self._table.running
        self._at_once = len(running)
        longest = _longest(running)
        entering: list[Run] = []
        while queue:
            longest = max(longest, queue[0].length)
            rows = len(running) + len(entering)
            if rows and (rows + 1) * least_capacity(longest + 1) > _ENTRY_SHARE * self._max_cache_tokens:
                break
            entering.append(queue.popleft())
        if not entering:
            return []
        self._at_once = len(running) + len(entering)
        placed = [(self._table.place_of(run.request.session), run) for run in entering]
        kept = [(place, run) for place, run in placed if place is not None]
        new = [run for place, run in placed if place is None]
        # In the order of their places, in which the fewest have to move.
        slots = [self._start(run) for _, run in sorted(kept, key=lambda pair: pair[0])]
        try:
            self._reserve(longest, params, len(new))
        except BaseException:
            queue.extendleft(reversed(new))
            raise
        return slots + [self._start(run) for run in new]

    def _start(self, run: Run) -> Slot:
        slot = self._table.start(run.request.session)
        slot.run = run
        return slot

    def _reserve(self, longest: int, params: SamplingParams, entering: int = 0) -> None:
        """Makes room for sequences of this length and the next token, at the expense of the longest unused sessions."""
        budget, limit, needed = self._max_cache_tokens, self._context_length or _UNLIMITED, least_capacity(longest + 1)
        self._table.close_longest_unused(budget // max(needed, self._cache.capacity) - entering)
        expected = min(needed + params.max_tokens, limit)
        self._cache.reserve(len(self._table) + entering, needed, expected=expected, limit=limit, budget=budget)

    @torch.inference_mode()
    def _read(self, slots: Sequence[Slot], params: SamplingParams) -> torch.Tensor:
        """Logits after the prompts of slots."""
        self._reserve(_longest(slots), params)
        return self._head(self._prefill.read(slots))

    @torch.inference_mode()
    def _decode(self, slots: Sequence[Slot], params: SamplingParams) -> torch.Tensor:
        """Logits after the last sampled tokens of all running slots, which have the first places of the cache."""
        self._reserve(_longest(slots), params)
        starts = [len(slot.ids) for slot in slots]
        for slot in slots:
            assert slot.run is not None
            slot.ids.append(slot.run.tokens[-1])
        rows = SlotPass(range(len(slots)), starts, [1] * len(slots), self._model.device)
        ids = torch.tensor([slot.ids[-1:] for slot in slots]).to(self._model.device)
        return self._head(self._forward(ids, rows, self._cache)[:, -1])

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return head_of(self._model)(hidden).float()

    @torch.inference_mode()
    def _draw(self, slots: Sequence[Slot], logits: torch.Tensor, params: SamplingParams) -> list[Slot]:
        """Draws a token for every slot; returns the slots whose responses have ended, by position."""
        runs = [slot.run for slot in slots if slot.run is not None]
        uniforms = torch.tensor([run.uniforms[len(run.tokens)] for run in runs], dtype=torch.float64)
        drawn = sample(logits, params, uniforms, self._forbidden)
        ended = []
        for slot, run, (token, logprob) in zip(slots, runs, drawn, strict=True):
            run.tokens.append(token)
            run.logprobs.append(logprob)
            if token in self._stops or len(run.tokens) == run.limit:
                ended.append((run.number, slot))
        return [slot for _, slot in sorted(ended, key=lambda pair: pair[0])]

    def _finish(self, finished: Sequence[Slot], params: SamplingParams, then: Continuation, keep: bool) -> list[Slot]:
        """Hands over finished responses, and returns the slots that go on with a new prompt."""
        following, ended = [], []
        for slot in finished:
            run = slot.run
            assert run is not None
            reason = "stop" if run.tokens[-1] in self._stops else "length"
            request = then(run.number, GenerationResult(run.tokens, run.logprobs, reason, self._version, run.cached))
            if request is None:
                ended.append(slot)
                continue
            slot.run, slot.session = self._run_of(run.number, request, params), request.session
            following.append(slot)
        # From the last place on, so that no slot moves into the place of one that ends too.
        for slot in sorted(ended, key=lambda slot: -slot.index):
            self._table.stop(slot, keep=keep)
        return following

    def _give_back(self) -> None:
        """Frees the cache if nothing is kept in it."""
        if len(self._table) == 0 and (self._model.device.type != "cpu" or self._cache.nbytes > _KEPT_BYTES):
            self._cache.free()

    def _refuse_if_busy(self) -> None:
        if self._busy:
            raise RuntimeError("The engine is sampling; what `then` calls must not use it.")


def _longest(slots: Sequence[Slot]) -> int:
    """Tokens of the longest sequence that is running."""
    return max((slot.run.length for slot in slots if slot.run is not None), default=0)
