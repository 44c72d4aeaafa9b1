"""Token dump: student and teacher log-probabilities of every sampled token, for a trajectory viewer or notebooks.

A JSON Lines file with one object per turn, in whole episodes:

| key | value |
|---|---|
| `episode_id`, `task_id`, `task_type` | text, as in `episodes/*.jsonl` |
| `group_id`, `turn` | whole numbers; turns count from 1 |
| `won` | true or false, of the episode |
| `advantage` | the turn's advantage, before anything is changed per token |
| `teacher_context` | what the teacher's prompt had here and the student's had not; null without a teacher |
| `token` | the text of each token; together they are the response |
| `class` | of each token: `think`, `format`, `action` or `end` |
| `student_logp`, `teacher_logp` | of each sampled token, in nats |
| `gap` | teacher minus student, in nats |
| `gate`, `weight` | the gate on its distillation loss, and its share of the whole loss |
| `token_advantage` | its advantage in the loss |
| `entropy` | entropy of the student's distribution, in nats |
| `ratio` | probability after the update over that before it, as in the clipped loss |

All lists of a line have the same length. Numbers are rounded to five decimals. A missing number is null, and so is a
list without values (such as `teacher_logp`, `gap` and `gate` of a turn without a teacher).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdar_gym.files import replace_text
from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.report.teacher_context import teacher_context
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
    "teacher_context": str,
}
_OPTIONAL = ("advantage", "teacher_context")
TEXT_LISTS = ("token", "class")
NUMBER_LISTS = ("student_logp", "teacher_logp", "gap", "gate", "weight", "token_advantage", "entropy", "ratio")
_DIGITS = 5


class TokenDumpError(ValueError):
    """A file or a row that does not match the schema of a token dump."""


def turn_tokens(
    episode: Episode,
    number: int,
    tokenizer: PieceTokenizer,
    *,
    advantage: float,
    values: Mapping[str, Sequence[float] | None],
    tag: str = "action",
) -> dict[str, Any]:
    """One row of a dump; `write_tokens` checks it against the schema.

    Args:
        episode: The episode.
        number: The turn, from 0.
        tokenizer: The policy's.
        advantage: The turn's advantage.
        values: Some of `NUMBER_LISTS`, one number per sampled token; NaN or None where there is none.
        tag: Name of the tag around actions in responses.

    Raises:
        TokenDumpError: A list in `values` is unknown.
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
        "teacher_context": teacher_context(episode, number, tokenizer),
        "token": token_pieces(tokenizer, turn.response_ids),
        "class": token_classes(tokenizer, turn.response_ids, turn.action, tag=tag),
        **{name: values.get(name) for name in NUMBER_LISTS},
    }
    return row


def write_tokens(path: Path, rows: Iterable[Mapping[str, Any]], *, max_turns: int | None = None) -> int:
    """Write a dump atomically: the whole file or nothing.

    Args:
        path: The file, `*.jsonl`; an existing one is replaced, a missing folder is created.
        rows: As `turn_tokens` makes them; the turns of an episode in order.
        max_turns: Keep no more turns than this, see `whole_episodes`; None keeps all.

    Returns:
        The number of turns written.

    Raises:
        TokenDumpError: A row does not match the schema.
        ValueError: `max_turns` is below 1.
    """
    checked = []
    for number, row in enumerate(rows, start=1):
        row = _json_values(row)
        where = f"row {number}"
        if isinstance(row, dict):
            where += f" (turn {shortened(row.get('turn'))} of episode {shortened(row.get('episode_id'))})"
        _check(row, f"{path.name}, {where}")
        checked.append(row)
    kept = checked if max_turns is None else whole_episodes(checked, max_turns)
    path.parent.mkdir(parents=True, exist_ok=True)
    # ASCII escapes keep lone surrogates, which a model can write and UTF-8 cannot encode.
    replace_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in kept))
    return len(kept)


def read_tokens(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a dump; missing numbers are None.

    Raises:
        TokenDumpError: The file is missing, or a line does not match the schema; says which and what is wrong.
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
            row = json.loads(line, parse_constant=_refuse_constant)
        except (*DAMAGED, ValueError) as error:
            raise TokenDumpError(f"{where}: not valid JSON ({first_line(error)}). Write the dump again.") from None
        _check(row, where)
        rows.append(row)
    return rows


def whole_episodes(rows: Sequence[Mapping[str, Any]], max_turns: int) -> list[dict[str, Any]]:
    """A deterministic subset of the rows: whole episodes, spread evenly over the groups.

    Takes the first episode of each group, then the second of each, and so on, and stops before the first episode that
    would exceed `max_turns`; skipping it would favor short episodes, which are mostly the won ones. The very first
    episode is kept whatever its length.

    Args:
        rows: The turns of all episodes.
        max_turns: How many turns to keep, at least 1.

    Returns:
        The chosen rows in their original order.

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


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _check(row: Any, where: str) -> None:
    """Raise TokenDumpError for a row that does not match the schema."""
    if not isinstance(row, Mapping):
        raise TokenDumpError(f"{where}: a turn must be a JSON object, got {type(row).__name__}.")
    known = (*TURN_KEYS, *TEXT_LISTS, *NUMBER_LISTS)
    missing, unknown = sorted(set(known) - set(row)), sorted(set(row) - set(known))
    if missing or unknown:
        raise TokenDumpError(
            f"{where}: missing {missing or 'nothing'}, unknown {shortened(unknown) if unknown else 'nothing'}."
        )
    for key, kind in TURN_KEYS.items():
        value = row[key]
        if value is None and key in _OPTIONAL:
            continue
        # bool is a subclass of int.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TokenDumpError(f"{where}: {key} is {shortened(value)}.")
        if key == "advantage" and not _is_finite(row[key]):
            raise TokenDumpError(
                f"{where}: {key} is {shortened(value)}, which is not finite; use null for a missing number."
            )
    for key in TEXT_LISTS:
        if not isinstance(row[key], list) or not all(isinstance(text, str) for text in row[key]):
            raise TokenDumpError(f"{where}: {key} is not a list of texts.")
    other = sorted(set(row["class"]) - set(TOKEN_CLASSES))
    if other:
        raise TokenDumpError(f"{where}: unknown token class {shortened(other)}; known: {', '.join(TOKEN_CLASSES)}.")
    for key in (*TEXT_LISTS, *NUMBER_LISTS):
        value = row[key]
        if value is None and key in NUMBER_LISTS:
            continue
        if not isinstance(value, list) or len(value) != len(row["token"]):
            raise TokenDumpError(f"{where}: {key} is not a list of {len(row['token'])}, one entry per token.")
    for key in NUMBER_LISTS:
        for value in row[key] or ():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise TokenDumpError(f"{where}: {key} holds {shortened(value)}, which is not a number.")
            # JSON has no NaN or infinity, but `1e400` is read as infinity.
            if value is not None and not _is_finite(value):
                raise TokenDumpError(
                    f"{where}: {key} holds {shortened(value)}, which is not finite; use null for a missing number."
                )


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer with hundreds of digits.
        return False


def _json_values(value: Any) -> Any:
    """Convert NumPy and torch values to JSON types; NaN and infinities become null, floats are rounded."""
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {key: _json_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_values(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _json_values(value.tolist())
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
