"""Prompt context: the token ids of a turn's prompt, for the student and for the teacher.

`window_context.py` makes a fresh prompt each turn, `conversation_context.py` one growing chat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sdar_gym.envs.prompting import (
    EpisodeView,
    Message,
    ParsedAction,
    PastTurn,
    PrivilegedContext,
    PromptTemplate,
)
from sdar_gym.policy.chat import ChatFormat
from sdar_gym.rollout.trajectory import Episode, TokenSequence

# Size of the prompt caches: the members of a group have the same prompts until they diverge.
CACHED_PROMPTS = 1024
# What stands for the rest of an observation that is cut.
_CUT = " [cut]"


class ChatTokenizer(Protocol):
    """The part of a `transformers` tokenizer that prompts need."""

    def apply_chat_template(self, conversation: list[Message], **kwargs: Any) -> Any:
        """Renders messages with the model's chat template."""
        ...

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        """Token ids of a text."""
        ...

    def decode(self, token_ids: list[int], **kwargs: Any) -> Any:
        """Text of token ids."""
        ...


class PromptTooLongError(ValueError):
    """A prompt over the limit, even without past turns.

    Attributes:
        tokens: Its length in tokens.
    """

    def __init__(self, message: str, tokens: int):
        super().__init__(message)
        self.tokens = tokens


class ContextFullError(ValueError):
    """A conversation without room for another turn."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A turn's prompt.

    Attributes:
        ids: Token ids, chat template included.
        dropped_turns: Past turns of the window that were left out to keep the limit.
        continues: Whether it begins with the tokens of the episode's last sequence.
        forks: Whether it does not although it is a conversation's: the chat template rewrote the past.
        messages: The chat messages instead of the ids, for a server that applies the chat template.
    """

    ids: list[int]
    dropped_turns: int = 0
    continues: bool = False
    forks: bool = False
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """Longest prompts, in tokens.

    Attributes:
        prompt: Of the student; in a conversation of the first turn.
        teacher_prompt: The same with a privileged context.
        response: Longest response.
        context: Longest conversation, responses included; None without limit.
        observation: Longest observation; None without limit.
    """

    prompt: int
    teacher_prompt: int
    response: int = 1
    context: int | None = None
    observation: int | None = None

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.teacher_prompt < 1:
            raise ValueError(f"max_prompt_tokens must be at least 1, got {min(self.prompt, self.teacher_prompt)}.")

    @property
    def teacher_context(self) -> int | None:
        """Longest conversation with a privileged context: it may be longer by what the first prompt may be."""
        return None if self.context is None else self.context + max(0, self.teacher_prompt - self.prompt)


class PromptContext(ABC):
    """Builds the prompts of an environment.

    Args:
        tokenizer: The policy's.
        template: The environment's prompt.
        limits: Longest prompts.
        think: Whether the response has to reason first.
        lists_actions: Where admissible actions are listed; see `rollout.show_actions`.
        chat_template_kwargs: Passed to the chat template (`enable_thinking` of Qwen3, say).
        day: The day that the chat template sees, `YYYY-MM-DD`; None for today.

    Attributes:
        grows: Whether prompts continue the episode's token sequence.
        limits: The limits.
        opening: Messages before those of the first turn: a system message, worked examples.
    """

    grows: bool = False

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        template: PromptTemplate,
        limits: PromptLimits,
        *,
        think: bool,
        lists_actions: str = "each",
        chat_template_kwargs: dict[str, Any] | None = None,
        day: str | None = None,
    ):
        self.limits = limits
        self._tokenizer = tokenizer
        self._chat = ChatFormat(tokenizer, chat_template_kwargs, day)
        self._template = template
        self._think = think
        self._lists_actions = lists_actions
        self.opening: list[Message] = []

    @abstractmethod
    def turn_messages(self, view: EpisodeView, actions_before: Sequence[str] = ()) -> list[Message]:
        """The messages that a turn adds to a chat, for worked examples.

        Args:
            view: The episode so far.
            actions_before: The admissible actions of the turn before.
        """

    @abstractmethod
    def chat_messages(
        self, episode: Episode, view: EpisodeView, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """The whole chat of an episode's next turn, as the chat template gets it.

        Args:
            episode: With the turns so far.
            view: The same as a prompt template reads it.
            privileged: What the acting policy reads beyond the student's prompt; None for the student.
        """

    @abstractmethod
    def first_prompt(self, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """The prompt of a turn that does not continue another: of every turn in a window, of the first otherwise.

        Args:
            view: The episode so far.
            privileged: The teacher's privileged context; with it the teacher's limit applies.

        Raises:
            PromptTooLongError: It is over the limit with no past turns left to drop.
        """

    @abstractmethod
    def next_prompt(self, episode: Episode, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """The prompt of the next turn of an episode.

        Args:
            episode: With the turns so far.
            view: The same as a prompt template reads it.
            privileged: What the acting policy reads beyond the student's prompt; None for the student.

        Raises:
            PromptTooLongError: See `first_prompt`.
            ContextFullError: The conversation has no room for another turn.
        """

    @abstractmethod
    def sequence_prompt(self, episode: Episode, turn: int, privileged: PrivilegedContext | None = None) -> list[int]:
        """The prompt of the token sequence that begins with a turn, built anew from the finished episode.

        Args:
            episode: The episode.
            turn: Number of the first turn of a sequence, from 0.
            privileged: The teacher's privileged context.

        Raises:
            PromptTooLongError: See `first_prompt`.
        """

    def teacher_tokens(
        self, episode: Episode, sequence: TokenSequence, texts: Sequence[PrivilegedContext]
    ) -> tuple[list[int], list[int]]:
        """A finished sequence as a teacher reads it: the same responses, with privileged contexts in the prompts.

        Args:
            episode: The episode.
            sequence: One of its sequences.
            texts: The privileged context of each span's turn. Equal ones are shown once, in the first prompt.

        Returns:
            Token ids, and the start of each span in them.

        Raises:
            PromptTooLongError: They are over the teacher's limit.
        """
        ids = sequence.behind(self.sequence_prompt(episode, sequence.spans[0].turn, texts[0]))
        return ids, sequence.starts_in(ids)

    def parse(self, response: str) -> ParsedAction:
        """Parses the action in a response; its beginning may have been written by the chat template."""
        return self._template.parse(self._chat.response_start + response, think=self._think)

    def shown(self, view: EpisodeView) -> EpisodeView:
        """The view as prompts show it: long observations are cut, actions left out where none are listed.

        Args:
            view: The episode so far.
        """
        if self._lists_actions == "never":
            view = replace(view, admissible_actions=())
        if self.limits.observation is None:
            return view
        history = tuple(replace(turn, observation=self._short(turn.observation)) for turn in view.history)
        return replace(view, history=history, observation=self._short(view.observation))

    def _short(self, text: str) -> str:
        limit = self.limits.observation
        # A token is at least one byte of text.
        if limit is None or len(text.encode("utf-8", "replace")) <= limit:
            return text
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        return text if len(ids) <= limit else f"{self._tokenizer.decode(ids[:limit])}{_CUT}"

    def too_long(self, length: int, privileged: PrivilegedContext | None) -> PromptTooLongError:
        """The error of a prompt that is over its limit.

        Args:
            length: In tokens.
            privileged: What the prompt shows beyond the student's.
        """
        teacher = privileged is not None
        limit = self.limits.teacher_prompt if teacher else self.limits.prompt
        setting = "rollout.max_teacher_prompt_tokens" if teacher else "rollout.max_prompt_tokens"
        return PromptTooLongError(
            f"The prompt has {length} tokens without any past turn; the limit is {limit}. "
            f"Raise {setting} or use a shorter prompt template.",
            length,
        )


def episode_view(episode: Episode, turn: int) -> EpisodeView:
    """The view that a turn's prompt was made from, rebuilt from the finished episode.

    Args:
        episode: The episode.
        turn: Number of the turn, from 0.
    """
    record = episode.turns[turn]
    history = tuple(PastTurn(past.observation, past.action, past.tagged) for past in episode.turns[:turn])
    return EpisodeView(episode.goal, history, record.observation, record.admissible_actions)
