"""Window context: a fresh prompt each turn, with the last turns verbatim (the published context mode)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sdar_gym.envs.prompting import EpisodeView, Message, PrivilegedContext, PromptTemplate
from sdar_gym.rollout.context import (
    CACHED_PROMPTS,
    ChatTokenizer,
    Prompt,
    PromptContext,
    PromptLimits,
    PromptTooLongError,
    episode_view,
)
from sdar_gym.rollout.trajectory import Episode


class WindowContext(PromptContext):
    """A fresh prompt each turn, with the last turns verbatim (the paper's context mode).

    When a prompt is too long, the oldest turns are dropped, one by one. The privileged context, the goal, the system
    message and worked examples are never dropped.

    Args:
        tokenizer: The policy's.
        template: The environment's prompt.
        limits: Longest prompts.
        window: Number of past turns included verbatim.
        untagged_characters: Characters, counted from the end, that the history keeps of a response without action
            tags; None keeps it whole.
        **settings: Those of `PromptContext`.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        template: PromptTemplate,
        limits: PromptLimits,
        *,
        window: int,
        untagged_characters: int | None = None,
        **settings: Any,
    ):
        super().__init__(tokenizer, template, limits, **settings)
        if window < 0:
            raise ValueError(f"window must be at least 0, got {window}.")
        self._window = window
        self._untagged = untagged_characters
        self._cache: OrderedDict[tuple[EpisodeView, PrivilegedContext | None], Prompt | PromptTooLongError] = (
            OrderedDict()
        )

    def turn_messages(self, view: EpisodeView, actions_before: Sequence[str] = ()) -> list[Message]:
        """See `PromptContext`."""
        return self._template.messages(self.shown(view), window=self._window, think=self._think)

    def chat_messages(
        self, episode: Episode, view: EpisodeView, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """See `PromptContext`. No past turn of the window is dropped: the length is not known here."""
        return self._messages(self._shown(view), self._window, privileged)

    def first_prompt(self, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """See `PromptContext`."""
        key = (view, privileged)
        known = self._cache.get(key)
        if known is None:
            try:
                known = self._build(view, privileged)
            except PromptTooLongError as error:
                # A copy without the traceback, which would keep its frames alive.
                known = PromptTooLongError(str(error), error.tokens)
            self._cache[key] = known
            while len(self._cache) > CACHED_PROMPTS:
                self._cache.popitem(last=False)
        if isinstance(known, PromptTooLongError):
            raise PromptTooLongError(str(known), known.tokens)
        return known

    def next_prompt(self, episode: Episode, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """See `PromptContext`."""
        return self.first_prompt(view, privileged)

    def sequence_prompt(self, episode: Episode, turn: int, privileged: PrivilegedContext | None = None) -> list[int]:
        """See `PromptContext`."""
        return self.first_prompt(episode_view(episode, turn), privileged).ids

    def _build(self, view: EpisodeView, privileged: PrivilegedContext | None) -> Prompt:
        view = self._shown(view)
        limit = self.limits.prompt if privileged is None else self.limits.teacher_prompt
        longest = window = min(self._window, len(view.history))
        while True:
            ids = self._chat.prompt_ids(self._messages(view, window, privileged))
            if len(ids) <= limit:
                return Prompt(ids, longest - window)
            if window == 0:
                raise self.too_long(len(ids), privileged)
            window -= 1

    def _shown(self, view: EpisodeView) -> EpisodeView:
        view = self.shown(view)
        if self._untagged is None:
            return view
        return replace(view, history=tuple(turn.shortened(self._untagged) for turn in view.history))

    def _messages(self, view: EpisodeView, window: int, privileged: PrivilegedContext | None) -> list[Message]:
        messages = self._template.messages(view, window=window, think=self._think, privileged=privileged)
        return [*self.opening, *messages]
