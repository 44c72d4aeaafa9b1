"""Chat completions: messages in, response texts out, with an engine and the tokenizer of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdar_gym.policy.chat import ChatFormat, decode_response
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, SamplingParams


class ChatEngine:
    """An engine for chat messages.

    Args:
        engine: Samples the responses.
        tokenizer: Its model's tokenizer.
        params: How to sample.
        chat_template_kwargs: Passed to the chat template (`enable_thinking` of Qwen3, say).

    Attributes:
        tokenizer: The tokenizer.
        max_response_tokens: Longest response, in tokens.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Any,
        params: SamplingParams,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ):
        self.tokenizer = tokenizer
        self.max_response_tokens = params.max_tokens
        self._engine = engine
        self._params = params
        self._format = ChatFormat(tokenizer, chat_template_kwargs)

    @property
    def max_prompt_tokens(self) -> int | None:
        """Longest prompt that leaves room for the longest response, in tokens; None if the model has no limit."""
        length = self._engine.info().get("max_len")
        return None if length is None else length - self.max_response_tokens

    def prompt_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of the messages, chat template included."""
        return self._format.prompt_ids(messages)

    def respond(self, prompts: Sequence[Sequence[int]], seed: int) -> list[tuple[str, bool]]:
        """Writes a response to each prompt.

        Args:
            prompts: Token ids.
            seed: Seed of the first prompt; the following prompts count up from it.

        Returns:
            For each prompt the text, and whether it was cut off at the longest response.
        """
        requests = [GenerationRequest(prompt, seed + number) for number, prompt in enumerate(prompts)]
        results = self._engine.generate(requests, self._params) if requests else []
        return [
            (decode_response(self.tokenizer, result.token_ids, self._engine.stop_ids), result.finish_reason == "length")
            for result in results
        ]
