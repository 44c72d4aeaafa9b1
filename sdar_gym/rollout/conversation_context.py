"""Conversation context: one growing chat, in which every token is read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from sdar_gym.envs.prompting import (
    EpisodeView,
    Message,
    PrivilegedContext,
    PromptTemplate,
    action_changes,
    action_list,
    next_message,
)
from sdar_gym.rollout.context import (
    CACHED_PROMPTS,
    ChatTokenizer,
    ContextFullError,
    Prompt,
    PromptContext,
    PromptLimits,
    PromptTooLongError,
    episode_view,
)
from sdar_gym.rollout.trajectory import Episode, TokenSequence


class ConversationContext(PromptContext):
    """One growing chat: each turn appends the observation, and no token is read twice.

    Sampled ids are never decoded and encoded again. Where the chat template rewrites past responses, a turn begins a
    new sequence with the template's rendering, or keeps what was sampled (`keep_history`).

    Args:
        tokenizer: The policy's.
        template: The environment's prompt.
        limits: Longest prompts.
        keep_history: Whether a past response stays as it was sampled where the chat template would rewrite it.
        **settings: Those of `PromptContext`.
    """

    grows = True

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        template: PromptTemplate,
        limits: PromptLimits,
        *,
        keep_history: bool = False,
        **settings: Any,
    ):
        super().__init__(tokenizer, template, limits, **settings)
        self._keep = keep_history
        self._rewrites = {thinking: self._chat.rewrites_history(thinking=thinking) for thinking in (False, True)}
        self._added: OrderedDict[tuple[str, bool], list[int]] = OrderedDict()

    def turn_messages(self, view: EpisodeView, actions_before: Sequence[str] = ()) -> list[Message]:
        """See `PromptContext`."""
        if not view.history:
            return self._first_messages(view, None)
        return [{"role": "user", "content": self._content(view, actions_before)}]

    def chat_messages(
        self, episode: Episode, view: EpisodeView, privileged: PrivilegedContext | None = None
    ) -> list[Message]:
        """See `PromptContext`."""
        return self._messages(episode, len(episode.turns), view, privileged)

    def first_prompt(self, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """See `PromptContext`."""
        ids = self._chat.prompt_ids([*self.opening, *self._first_messages(view, privileged)])
        if len(ids) > (self.limits.prompt if privileged is None else self.limits.teacher_prompt):
            raise self.too_long(len(ids), privileged)
        return Prompt(ids)

    def next_prompt(self, episode: Episode, view: EpisodeView, privileged: PrivilegedContext | None = None) -> Prompt:
        """See `PromptContext`."""
        if not episode.turns:
            return self.first_prompt(view, privileged)
        last = episode.turns[-1]
        forks = not self._keep and self._rewrites["</think>" in self._chat.response_start + last.response]
        if forks:
            ids = self._rendered(episode, len(episode.turns), view, privileged)
        else:
            content = self._content(view, last.admissible_actions)
            ids = [*episode.sequences[-1].ids, *self._delta(content, last.response_ids[-1:] == [self._chat.turn_end])]
        if not self._has_room(ids, privileged):
            raise ContextFullError(f"The conversation has {len(ids)} tokens and no room for another response.")
        return Prompt(ids, continues=not forks, forks=forks)

    def sequence_prompt(self, episode: Episode, turn: int, privileged: PrivilegedContext | None = None) -> list[int]:
        """See `PromptContext`."""
        view = episode_view(episode, turn)
        if turn == 0:
            return self.first_prompt(view, privileged).ids
        ids = self._rendered(episode, turn, view, privileged)
        if not self._has_room(ids, privileged):
            raise PromptTooLongError(f"The conversation has {len(ids)} tokens and no room for a response.", len(ids))
        return ids

    def teacher_tokens(
        self, episode: Episode, sequence: TokenSequence, texts: Sequence[PrivilegedContext]
    ) -> tuple[list[int], list[int]]:
        """See `PromptContext`. Contexts that differ stand in the user message before their own response."""
        if len(set(texts)) == 1:
            ids, starts = super().teacher_tokens(episode, sequence, texts)
        else:
            ids = self.sequence_prompt(episode, sequence.spans[0].turn, texts[0])
            starts = []
            for number, span in enumerate(sequence.spans):
                if number:
                    view, before = episode_view(episode, span.turn), episode.turns[span.turn - 1]
                    shown = f"{texts[number].heading}:\n{texts[number].text}"
                    content = f"{self._content(view, before.admissible_actions)}\n\n{shown}"
                    ids += self._delta(content, before.response_ids[-1:] == [self._chat.turn_end])
                starts.append(len(ids))
                ids += sequence.ids[span.start : span.stop]
        limit = self.limits.teacher_context
        if limit is not None and len(ids) > limit:
            raise PromptTooLongError(f"The conversation has {len(ids)} tokens, the limit is {limit}.", len(ids))
        return ids, starts

    def _has_room(self, ids: Sequence[int], privileged: PrivilegedContext | None) -> bool:
        limit = self.limits.context if privileged is None else self.limits.teacher_context
        return limit is None or len(ids) + self.limits.response <= limit

    def _first_messages(self, view: EpisodeView, privileged: PrivilegedContext | None) -> list[Message]:
        return self._template.messages(self.shown(view), window=0, think=self._think, privileged=privileged)

    def _content(self, view: EpisodeView, actions_before: Sequence[str]) -> str:
        """The user message of a later turn."""
        actions = ""
        if self._lists_actions == "each":
            actions = action_list(view.admissible_actions)
        elif self._lists_actions == "changes":
            actions = action_changes(actions_before, view.admissible_actions)
        return next_message(self._template, self.shown(view), actions)

    def _delta(self, content: str, ended: bool) -> list[int]:
        known = self._added.get((content, ended))
        if known is None:
            known = self._added[content, ended] = self._chat.continuation_ids(content, ended=ended)
            while len(self._added) > CACHED_PROMPTS:
                self._added.popitem(last=False)
        return known

    def _rendered(
        self, episode: Episode, number: int, view: EpisodeView, privileged: PrivilegedContext | None
    ) -> list[int]:
        """The conversation up to a turn as the chat template renders it, responses encoded again."""
        return self._chat.prompt_ids(self._messages(episode, number, view, privileged))

    def _messages(
        self, episode: Episode, number: int, view: EpisodeView, privileged: PrivilegedContext | None
    ) -> list[Message]:
        """The conversation up to a turn."""
        first = episode_view(episode, 0) if number else view
        messages = [*self.opening, *self._first_messages(first, privileged)]
        for at, turn in enumerate(episode.turns[:number], start=1):
            messages.append({"role": "assistant", "content": self._chat.response_start + turn.response})
            seen = view if at == number else episode_view(episode, at)
            messages.append({"role": "user", "content": self._content(seen, turn.admissible_actions)})
        return messages
