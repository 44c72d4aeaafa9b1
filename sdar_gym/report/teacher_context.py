"""Teacher context: the text that a turn's teacher prompt had and the student's had not, read from their tokens."""

from __future__ import annotations

from collections.abc import Sequence

from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.token_classes import PieceTokenizer


def teacher_context(episode: Episode, number: int, tokenizer: PieceTokenizer) -> str | None:
    """The part of the teacher's prompt that is not in the student's, between the response before and this one.

    It is taken from the tokens that were scored, so it holds for every view of a teacher. In a conversation the
    privileged text usually stands in the first prompt; later turns then have an empty one.

    Args:
        episode: The episode, with the teacher's tokens.
        number: The turn, from 0.
        tokenizer: The policy's.

    Returns:
        The text; None if the turn has no teacher.
    """
    sequence = episode.sequence_of(number)
    if sequence.teacher_ids is None:
        return None
    starts = sequence.teacher_starts or sequence.starts_in(sequence.teacher_ids)
    place = next(place for place, span in enumerate(sequence.spans) if span.turn == number)
    span = sequence.spans[place]
    begin = teacher_begin = 0
    if place:
        before = sequence.spans[place - 1]
        begin = before.stop
        teacher_begin = starts[place - 1] + before.stop - before.start
    only = _only_in(sequence.teacher_ids[teacher_begin : starts[place]], sequence.ids[begin : span.start])
    return str(tokenizer.decode(only, skip_special_tokens=False)) if only else ""


def _only_in(longer: Sequence[int], shorter: Sequence[int]) -> list[int]:
    """What is left of a list without the beginning and the end that it shares with another."""
    most = min(len(longer), len(shorter))
    head = 0
    while head < most and longer[head] == shorter[head]:
        head += 1
    tail = 0
    while tail < most - head and longer[-1 - tail] == shorter[-1 - tail]:
        tail += 1
    return list(longer[head : len(longer) - tail])
