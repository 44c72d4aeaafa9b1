"""Rows of `episodes.jsonl`: reading them back as episodes without token ids, and files whose last line is torn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.text import shortened

# No row of a benchmark is as long; a longer line is no file of episodes.
_LONGEST_LINE = 256 << 20


class EpisodeRowError(ValueError):
    """A file of episodes that cannot be read."""


def read_rows(path: Path, *, torn: bool = False) -> list[dict[str, Any]]:
    """The rows of a file of episodes.

    Args:
        path: The file.
        torn: Whether a last line without its end is dropped: what a killed process leaves. Otherwise it is an error.

    Raises:
        EpisodeRowError: The file cannot be read, or a line is no episode.
    """
    rows: list[dict[str, Any]] = []
    number = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if not line.endswith(b"\n") and torn:
                    break
                rows.append(_checked(json.loads(line.decode("utf-8"))))
    except (*DAMAGED, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _reason(error)
        where = f"{path}, line {number}," if number else str(path)
        raise EpisodeRowError(f"{where} is no file of episodes that can be read: {reason}.") from error
    return rows


def whole_length(path: Path) -> int:
    """Bytes of a file up to the end of its last whole line."""
    content = path.read_bytes()
    return content.rfind(b"\n") + 1


def episode_of(row: Mapping[str, Any]) -> Episode:
    """The episode of a row, without token ids and log-probabilities.

    Args:
        row: From `read_rows`.
    """
    group, member = group_of(row["episode_id"])
    episode = Episode(
        episode_id=row["episode_id"],
        group_id=group,
        member=member,
        task_id=row["task_id"],
        task_type=row["task_type"],
        split=row["split"],
        goal=row["goal"],
        won=row["won"],
        score=float(row["score"]),
        ended=row["ended"],
        error=row.get("error", ""),
        limit=row.get("limit", ""),
        context_forks=row.get("context_forks", 0),
        metrics=dict(row.get("metrics", {})),
        reference=row.get("reference", ""),
        skills=tuple(row.get("skills", ())),
        skills_specific=row.get("skills_specific"),
        skill_scores=tuple(float("inf") if score is None else score for score in row.get("skill_scores", ())),
        skill_strategy=row.get("skill_strategy", ""),
        skill_backend=row.get("skill_backend", ""),
    )
    episode.turns = [_turn_of(turn) for turn in row["turns"]]
    return episode


def group_of(episode_id: str) -> tuple[int, int]:
    """Group and member of an episode's id, `<group>/<member>`.

    Raises:
        ValueError: The id is of another form.
    """
    group, slash, member = episode_id.partition("/")
    if not (slash and group.isdecimal() and member.isdecimal()):
        raise ValueError(f"the episode_id {shortened(episode_id)} is not of the form group/member")
    return int(group), int(member)


def _turn_of(turn: Mapping[str, Any]) -> TurnRecord:
    return TurnRecord(
        observation=turn["observation"],
        response=turn["response"],
        action=turn["action"],
        valid_form=turn["valid_form"],
        valid_action=turn["valid_action"],
        reward=float(turn["reward"]),
        response_ids=[],
        old_logp=[],
        weight_version=0,
        prompt_tokens=turn.get("prompt_tokens", 0),
        counted_tokens=turn.get("response_tokens", 0),
        finish_reason=turn.get("finish_reason", "stop"),
        dropped_turns=turn.get("dropped_turns", 0),
        admissible_actions=tuple(turn.get("admissible_actions", ())),
        feedback=turn.get("feedback"),
    )


_TEXTS = ("episode_id", "task_id", "task_type", "split", "goal", "ended")
_TURN_TEXTS = ("observation", "response", "action")


def _checked(row: Any) -> dict[str, Any]:
    """The row, if it has what an episode needs, in the right types.

    Raises:
        ValueError: It does not; the message is a clause.
    """
    if not isinstance(row, dict):
        raise ValueError(f"it holds {type(row).__name__}, no object")
    _check(row, _TEXTS, str, "text")
    _check(row, ("won",), bool, "true or false")
    _number(row, "score")
    _check(row, ("turns",), list, "a list")
    group_of(row["episode_id"])
    for name, kind in (("error", str), ("metrics", dict), ("skills", list), ("skill_scores", list)):
        if name in row and not isinstance(row[name], kind):
            raise ValueError(f"{name} is {shortened(row[name])}")
    for name in row.get("metrics", {}):
        _number(row["metrics"], name)
    for turn in row["turns"]:
        if not isinstance(turn, dict):
            raise ValueError(f"a turn is {shortened(turn)}, no object")
        _check(turn, _TURN_TEXTS, str, "text")
        _check(turn, ("valid_form", "valid_action"), bool, "true or false")
        _number(turn, "reward")
        for name in ("prompt_tokens", "response_tokens", "dropped_turns"):
            if type(turn.get(name, 0)) is not int:
                raise ValueError(f"{name} is {shortened(turn[name])}, no whole number")
    return row


def _check(place: Mapping[str, Any], names: tuple[str, ...], kind: type, what: str) -> None:
    for name in names:
        if not isinstance(place.get(name), kind):
            found = "missing" if name not in place else shortened(place[name])
            raise ValueError(f"{name} has to be {what}, and is {found}")


def _number(place: Mapping[str, Any], name: str) -> None:
    value = place.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name} has to be a number, and is {shortened(value)}")


def _reason(error: BaseException) -> str:
    return first_line(error).removesuffix(".") or type(error).__name__
