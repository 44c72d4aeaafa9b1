"""The token dump: what teacher and student thought of every sampled token, for the trajectory viewer and for notebooks.

A file has one JSON object a line, one line a turn, whole episodes:

| key | value |
|---|---|
| `episode_id`, `task_id`, `task_type` | text, as in `episodes/*.jsonl` |
| `group_id`, `turn` | whole numbers; turns count from 1 |
| `won` | true or false, of the episode |
| `advantage` | the turn's advantage before anything is done to it by the token |
| `token` | the text of each token; together they are the answer |
| `class` | of each token: `think`, `format`, `action` or `end` |
| `student_logp`, `teacher_logp` | of each sampled token, in nats |
| `gap` | teacher less student, in nats |
| `gate`, `weight` | what its distillation loss is weighed with, and its share of the whole loss |
| `token_advantage` | the advantage with which it enters the loss |
| `entropy` | the student's, in nats |

The lists of a line are equally long. Numbers have five digits behind the point; a single number that is missing is
null, and so is a list of which nothing is known (`teacher_logp`, `gap` and `gate` of a turn without a teacher, say).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.text import shortened
from sdar_gym.training.token_classes import TOKEN_CLASSES, PieceTokenizer, token_classes, token_pieces
from sdar_gym.validation import whole_number

TURN_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "episode_id": str,
    "group_id": int,
    "task_id": str,
    "task_type": str,
    "turn": int,
    "won": bool,
    "advantage": (int, float),
}
TEXT_LISTS = ("token", "class")
NUMBER_LISTS = ("student_logp", "teacher_logp", "gap", "gate", "weight", "token_advantage", "entropy")
_DIGITS = 5


class TokenDumpError(ValueError):
    """A file or a row that is no token dump."""


def turn_tokens(
    episode: Episode,
    number: int,
    tokenizer: PieceTokenizer,
    *,
    advantage: float,
    values: Mapping[str, Sequence[float] | None],
    tag: str = "action",
) -> dict[str, Any]:
    """One row of a dump.

    Args:
        episode: The episode.
        number: The turn, from 0.
        tokenizer: The policy's.
        advantage: The turn's advantage.
        values: Some of `NUMBER_LISTS`, a number for each sampled token; nan or None where there is none.
        tag: Name of the tag around actions.

    Raises:
        TokenDumpError: A list is unknown or has another length than the answer.
    """
    unknown = sorted(set(values) - set(NUMBER_LISTS))
    if unknown:
        raise TokenDumpError(f"Unknown list(s) {', '.join(unknown)}; a dump has {', '.join(NUMBER_LISTS)}.")
    turn = episode.turns[number]
    row = {
        "episode_id": episode.episode_id,
        "group_id": episode.group_id,
        "task_id": episode.task_id,
        "task_type": episode.task_type,
        "turn": number + 1,
        "won": episode.won,
        "advantage": advantage,
        "token": token_pieces(tokenizer, turn.response_ids),
        "class": token_classes(tokenizer, turn.response_ids, turn.action, tag=tag),
        **{name: values.get(name) for name in NUMBER_LISTS},
    }
    row = _plain(row)
    _check(row, f"Turn {number + 1} of episode {episode.episode_id}")
    return row


def write_tokens(path: Path, rows: Iterable[Mapping[str, Any]], *, max_turns: int | None = None) -> int:
    """Write a dump, all of it or none.

    Args:
        path: The file, `*.jsonl`; replaced if it is there, and its folder is made if it is not.
        rows: As `turn_tokens` makes them; the turns of an episode in order.
        max_turns: Keep no more turns than this, see `whole_episodes`; None keeps all.

    Returns:
        The number of turns written.

    Raises:
        TokenDumpError: A row does not have the schema.
        ValueError: `max_turns` is below 1.
    """
    rows = list(rows)
    for number, row in enumerate(rows, start=1):
        _check_keys(row, f"Row {number} for {path.name}")
    kept = [_plain(row) for row in (rows if max_turns is None else whole_episodes(rows, max_turns))]
    for row in kept:
        _check(row, f"Turn {row['turn']} of episode {row['episode_id']}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            # Lone surrogates, which a model can write, are no UTF-8; ASCII keeps them.
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in kept)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return len(kept)


def read_tokens(path: Path) -> list[dict[str, Any]]:
    """The rows of a dump; missing numbers are None.

    Raises:
        TokenDumpError: There is no such file, or a line is not of the schema; says which and what is wrong.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except (*DAMAGED, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        raise TokenDumpError(f"Cannot read the token dump {path}: {reason}.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line, parse_constant=_refuse)
        except (*DAMAGED, ValueError) as error:
            raise TokenDumpError(f"{where}: no JSON ({first_line(error)}). Write the dump anew.") from None
        _check(row, where)
        rows.append(row)
    return rows


def whole_episodes(rows: Sequence[Mapping[str, Any]], max_turns: int) -> list[dict[str, Any]]:
    """A part of the rows: whole episodes, evenly over the groups, always the same ones.

    The first episode of each group, then the second of each, and so on, until the next one would be too much; passing
    over it would favour short episodes, which are the won ones. The very first episode is kept whatever its length.

    Args:
        rows: The turns of all episodes.
        max_turns: How many turns to keep, at least 1.

    Returns:
        The chosen rows in the order they came.

    Raises:
        ValueError: `max_turns` is below 1.
    """
    if whole_number("max_turns", max_turns) < 1:
        raise ValueError(f"max_turns must be at least 1, got {max_turns}.")
    groups: dict[int, dict[str, int]] = {}
    for row in rows:
        turns = groups.setdefault(row["group_id"], {})
        turns[row["episode_id"]] = turns.get(row["episode_id"], 0) + 1
    queue = [
        (member, place, group, episode, turns)
        for place, (group, episodes) in enumerate(groups.items())
        for member, (episode, turns) in enumerate(episodes.items())
    ]
    chosen: set[tuple[int, str]] = set()
    total = 0
    for _, _, group, episode, turns in sorted(queue):
        if chosen and total + turns > max_turns:
            break
        chosen.add((group, episode))
        total += turns
    return [dict(row) for row in rows if (row["group_id"], row["episode_id"]) in chosen]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _check_keys(row: Any, where: str) -> None:
    """Raise for a row without the keys of the schema, or with others."""
    if not isinstance(row, Mapping):
        raise TokenDumpError(f"{where}: a turn is a JSON object, got {type(row).__name__}.")
    known = (*TURN_KEYS, *TEXT_LISTS, *NUMBER_LISTS)
    missing, unknown = sorted(set(known) - set(row)), sorted(set(row) - set(known))
    if missing or unknown:
        raise TokenDumpError(
            f"{where}: missing {missing or 'nothing'}, unknown {shortened(unknown) if unknown else 'nothing'}."
        )


def _check(row: Any, where: str) -> None:
    """Raise for what is not of the schema."""
    _check_keys(row, where)
    for key, kind in TURN_KEYS.items():
        value = row[key]
        if value is None and key == "advantage":
            continue
        # True is an int to Python; here it is none.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TokenDumpError(f"{where}: {key} is {shortened(value)}.")
        if key == "advantage" and not _is_finite(row[key]):
            raise TokenDumpError(
                f"{where}: {key} is {shortened(value)}, which is not finite; null says that it is missing."
            )
    for key in TEXT_LISTS:
        if not isinstance(row[key], list) or not all(isinstance(text, str) for text in row[key]):
            raise TokenDumpError(f"{where}: {key} is no list of texts.")
    other = sorted(set(row["class"]) - set(TOKEN_CLASSES))
    if other:
        raise TokenDumpError(f"{where}: unknown token class {shortened(other)}; they are {', '.join(TOKEN_CLASSES)}.")
    for key in (*TEXT_LISTS, *NUMBER_LISTS):
        value = row[key]
        if value is None and key in NUMBER_LISTS:
            continue
        if not isinstance(value, list) or len(value) != len(row["token"]):
            raise TokenDumpError(f"{where}: {key} is no list of {len(row['token'])}, one entry a token.")
    for key in NUMBER_LISTS:
        for value in row[key] or ():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise TokenDumpError(f"{where}: {key} holds {shortened(value)}, which is no number.")
            # JSON knows no word for them, but `1e400` becomes one.
            if value is not None and not _is_finite(value):
                raise TokenDumpError(
                    f"{where}: {key} holds {shortened(value)}, which is not finite; null says that a number is missing."
                )


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number of some hundred digits.
        return False


def _plain(value: Any) -> Any:
    """What JSON knows: numpy's and torch's numbers and arrays become Python's, no number becomes null."""
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
