"""Builds the token ids of a turn's prompt, for the student and for the teacher."""

from __future__ import annotations

from typing import Any, Protocol

from sdar_gym.envs.prompting import EpisodeView, Message, ParsedAction, PromptTemplate


class ChatTokenizer(Protocol):
    """What is asked of a `transformers` tokenizer."""

    def apply_chat_template(self, conversation: list[Message], **kwargs: Any) -> Any:
        """Render messages with the model's chat template."""
        ...

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        """Token ids of a text."""
        ...


class PromptTooLongError(ValueError):
    """A prompt that is over the limit even with no past turns in it."""


class ContextBuilder:
    """Fresh prompt each turn, with the last turns word for word (the paper's context mode).

    When a prompt is too long, whole old turns go first; the skills, the goal and the system text never do.

    Args:
        tokenizer: The policy's.
        template: The environment's prompt.
        window: Past turns told word for word.
        max_prompt_tokens: Longest prompt, in tokens.
        think: Whether the answer has to reason first.
        chat_template_kwargs: Passed to the chat template (`enable_thinking` of Qwen3, say).
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        template: PromptTemplate,
        *,
        window: int,
        max_prompt_tokens: int,
        think: bool,
        chat_template_kwargs: dict[str, Any] | None = None,
    ):
        if window < 0 or max_prompt_tokens < 1:
            raise ValueError(f"window ({window}) and max_prompt_tokens ({max_prompt_tokens}) must not be negative.")
        self._tokenizer = tokenizer
        self._template = template
        self._window = window
        self._limit = max_prompt_tokens
        self._kwargs = dict(chat_template_kwargs or {})
        self._think = think

    def prompt_ids(self, view: EpisodeView, skills: str = "") -> list[int]:
        """Token ids of this turn's prompt, up to where the answer begins.

        Args:
            view: The episode so far.
            skills: Skill text; only the teacher's prompt has any.

        Raises:
            PromptTooLongError: It is over the limit with no past turns left to drop.
        """
        ids: list[int] = []
        for window in range(min(self._window, len(view.history)), -1, -1):
            messages = self._template.messages(view, window=window, skills=skills, think=self._think)
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self._kwargs
            )
            ids = self._tokenizer.encode(text, add_special_tokens=False)
            if len(ids) <= self._limit:
                return ids
        raise PromptTooLongError(
            f"The prompt has {len(ids)} tokens without any past turn; the limit is {self._limit}. "
            "Raise rollout.max_prompt_tokens or use a shorter prompt template."
        )

    def parse(self, answer: str) -> ParsedAction:
        """Read the action out of the model's answer."""
        return self._template.parse(answer, think=self._think)
