"""The teacher's context of a turn, read from the tokens of both prompts."""

from __future__ import annotations

from typing import Any

import pytest

from sdar_gym.report.teacher_context import teacher_context
from sdar_gym.rollout.trajectory import Episode, ResponseSpan, TokenSequence, TurnRecord


class Letters:
    """A tokenizer of single letters."""

    all_special_ids: tuple[int, ...] = ()

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(map(chr, ids))


def ids(text: str) -> list[int]:
    return list(map(ord, text))


def turn() -> TurnRecord:
    return TurnRecord("o", "r", "r", True, True, 0.0, ids("r"), [-0.5], 0)


def episode() -> Episode:
    return Episode("0/0", 0, "t", "k", "train", "g")


@pytest.mark.parametrize(
    ("student", "teacher", "only"),
    [
        ("goal. look.", "goal. skill: heat it. look.", "skill: heat it. "),
        ("abab", "ababab", "ab"),
        ("goal", "goal", ""),
        ("long past. now", "skill. now", "skill"),
        ("", "skill", "skill"),
    ],
)
def test_a_window_shows_what_is_between_the_common_beginning_and_end(student: str, teacher: str, only: str) -> None:
    played = episode()
    played.add_turn(turn(), ids(student), ids(teacher))
    assert teacher_context(played, 0, Letters()) == only  # type: ignore[arg-type]


def test_a_turn_without_a_teacher_has_none() -> None:
    played = episode()
    played.add_turn(turn(), ids("goal"))
    assert teacher_context(played, 0, Letters()) is None  # type: ignore[arg-type]


def test_in_a_conversation_each_turn_has_its_own_part() -> None:
    played = episode()
    played.turns += [turn(), turn(), turn()]
    student, teacher = "goal|r|two|r|three|r", "goal+SKILL|r|two|r|+SAID three|r"
    places = [
        [at for at, letter in enumerate(text) if letter == "r" and text[at - 1] == "|"] for text in (student, teacher)
    ]
    spans = [ResponseSpan(number, at, at + 1) for number, at in enumerate(places[0])]
    played.sequences.append(TokenSequence(ids(student), spans, teacher_ids=ids(teacher), teacher_starts=places[1]))
    found = [teacher_context(played, number, Letters()) for number in range(3)]  # type: ignore[arg-type]
    assert found == ["+SKILL", "", "+SAID "]
