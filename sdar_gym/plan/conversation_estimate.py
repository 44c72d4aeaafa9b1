"""Conversation estimate: the token sequence that an episode would be as one growing chat.

A response is followed by the next observation as a user message; actions are listed as `rollout.show_actions` says.
Used where the collector played an episode as single prompts; the wording of a conversation's messages may differ by a
few tokens a turn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.policy.chat import QUESTION, REPLY, ChatFormat
from sdar_gym.rollout.trajectory import Episode, ResponseSpan, TokenSequence, TurnRecord


def is_conversation(episode: Episode) -> bool:
    """Whether the turns of an episode are joined already; with one turn both forms are the same."""
    return len(episode.turns) < 2 or len(episode.sequences) < len(episode.turns)


def as_conversation(episode: Episode, tokenizer: Any, rollout: RolloutSettings) -> Episode:
    """The same episode with one token sequence for all turns.

    Args:
        episode: Played with a window.
        tokenizer: The policy's.
        rollout: Chat template, date, and how actions are shown.
    """
    if is_conversation(episode):
        return episode
    chat = ChatFormat(tokenizer, rollout.chat_template_kwargs, rollout.date)
    first = episode.sequences[0]
    ids, spans = list(first.ids), list(first.spans)
    for number in range(1, len(episode.turns)):
        before, turn = episode.turns[number - 1], episode.turns[number]
        ids += _next_message(chat, tokenizer, user_message(before, turn, rollout.show_actions))
        spans.append(ResponseSpan(number, len(ids), len(ids) + len(turn.response_ids)))
        ids += turn.response_ids
    sequence = TokenSequence(ids, spans)
    if first.teacher_ids is not None:
        sequence.teacher_ids = sequence.behind(first.teacher_ids[: len(first.teacher_ids) - _sampled(first)])
    return replace(episode, sequences=[sequence])


def user_message(before: TurnRecord, turn: TurnRecord, show_actions: str) -> str:
    """The text that a turn adds to a conversation."""
    parts = [turn.observation]
    old, new = before.admissible_actions, turn.admissible_actions
    if show_actions == "each" and new:
        parts.append(f"Actions you can take now: [{_listed(new)}]")
    if show_actions == "changes":
        gone, come = [one for one in old if one not in new], [one for one in new if one not in old]
        if come:
            parts.append(f"New actions: [{_listed(come)}]")
        if gone:
            parts.append(f"No longer possible: [{_listed(gone)}]")
    return "\n\n".join(parts)


def _listed(actions: Any) -> str:
    return "\n".join(f"'{action}'" for action in actions)


def _next_message(chat: ChatFormat, tokenizer: Any, message: str) -> list[int]:
    """The tokens between a response and the next one; its end token belongs to the response."""
    talk = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": REPLY},
        {"role": "user", "content": message},
    ]
    after = chat.text(talk).partition(REPLY)[2]
    ids = tokenizer.encode(after, add_special_tokens=False)
    return ids[1:] if ids and ids[0] == chat.turn_end else ids


def _sampled(sequence: TokenSequence) -> int:
    return len(sequence.ids) - sequence.spans[0].start
