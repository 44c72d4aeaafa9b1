"""Prompt context: the token ids of a turn's prompt, for the student and for the teacher."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sdar_gym.envs.prompting import EpisodeView, Message, ParsedAction, PrivilegedContext, PromptTemplate
from sdar_gym.policy.chat import ChatFormat

# Size of the prompt cache: the members of a group have the same prompts until they diverge.
_CACHED_PROMPTS = 1024


class ChatTokenizer(Protocol):
    """The part of a `transformers` tokenizer that prompts need."""

    def apply_chat_template(self, conversation: list[Message], **kwargs: Any) -> Any:
        """Renders messages with the model's chat template."""
        ...

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        """Token ids of a text."""
        ...


class PromptTooLongError(ValueError):
    """A prompt over the limit, even without past turns.

    Attributes:
        tokens: Its length in tokens.
    """

    def __init__(self, message: str, tokens: int):
        super().__init__(message)
        self.tokens = tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    """A turn's prompt.

    Attributes:
        ids: Token ids, chat template included.
        dropped_turns: Past turns of the window that were left out to keep the limit.
    """

    ids: list[int]
    dropped_turns: int


class ContextBuilder:
    """Window context: a fresh prompt each turn, with the last turns verbatim (the paper's context mode).

    When a prompt is too long, the oldest turns are dropped, one by one. The privileged context, the goal, the system
    message and worked examples are never dropped.

    Args:
        tokenizer: The policy's.
        template: The environment's prompt.
        window: Number of past turns included verbatim.
        max_prompt_tokens: Longest prompt of the student, in tokens.
        max_teacher_prompt_tokens: Longest prompt with a privileged context; None for `max_prompt_tokens`.
        think: Whether the response has to reason first.
        chat_template_kwargs: Passed to the chat template (`enable_thinking` of Qwen3, say).
        opening: Messages before those of the turn: a system message, worked examples.
        untagged_characters: Characters, counted from the end, that the history keeps of a response without action
            tags; None keeps it whole.
        day: The day that the chat template sees, `YYYY-MM-DD`; None for today.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        template: PromptTemplate,
        *,
        window: int,
        max_prompt_tokens: int,
        think: bool,
        max_teacher_prompt_tokens: int | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        opening: Sequence[Message] = (),
        untagged_characters: int | None = None,
        day: str | None = None,
    ):
        if window < 0 or max_prompt_tokens < 1:
            raise ValueError(
                f"window must be at least 0 and max_prompt_tokens at least 1, got {window} and {max_prompt_tokens}."
            )
        self._chat = ChatFormat(tokenizer, chat_template_kwargs, day)
        self._template = template
        self._window = window
        self._limit = max_prompt_tokens
        self._teacher_limit = max_teacher_prompt_tokens or max_prompt_tokens
        self._think = think
        self._opening = list(opening)
        self._untagged = untagged_characters
        self._cache: OrderedDict[tuple[EpisodeView, PrivilegedContext | None], Prompt | PromptTooLongError] = (
            OrderedDict()
        )

    def prompt(self, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """The prompt of this turn.

        Args:
            view: The episode so far.
            privileged: The teacher's privileged context; with it the teacher's limit applies.

        Raises:
            PromptTooLongError: It is over the limit with no past turns left to drop.
        """
        key = (view, privileged)
        known = self._cache.get(key)
        if known is None:
            try:
                known = self._build(view, privileged)
            except PromptTooLongError as error:
                # A copy without the traceback, which would keep its frames alive.
                known = PromptTooLongError(str(error), error.tokens)
            self._cache[key] = known
            while len(self._cache) > _CACHED_PROMPTS:
                self._cache.popitem(last=False)
        if isinstance(known, PromptTooLongError):
            raise PromptTooLongError(str(known), known.tokens)
        return known

    def prompt_ids(self, view: EpisodeView, privileged: PrivilegedContext | None = None) -> list[int]:
        """The token ids of `prompt`.

        Raises:
            PromptTooLongError: See `prompt`.
        """
        return self.prompt(view, privileged).ids

    def parse(self, response: str) -> ParsedAction:
        """Parses the action in a response; its beginning may have been written by the chat template."""
        return self._template.parse(self._chat.response_start + response, think=self._think)

    def _build(self, view: EpisodeView, privileged: PrivilegedContext | None) -> Prompt:
        teacher = privileged is not None
        setting = "rollout.max_teacher_prompt_tokens" if teacher else "rollout.max_prompt_tokens"
        limit = self._teacher_limit if teacher else self._limit
        if self._untagged is not None:
            view = replace(view, history=tuple(turn.shortened(self._untagged) for turn in view.history))
        longest = min(self._window, len(view.history))
        length = 0
        for window in range(longest, -1, -1):
            messages = self._template.messages(view, window=window, think=self._think, privileged=privileged)
            ids = self._chat.prompt_ids([*self._opening, *messages])
            if len(ids) <= limit:
                return Prompt(ids, longest - window)
            length = len(ids)
        raise PromptTooLongError(
            f"The prompt has {length} tokens without any past turn; the limit is {limit}. "
            f"Raise {setting} or use a shorter prompt template.",
            length,
        )
