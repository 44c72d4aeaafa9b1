"""Reader of played episodes (`episodes/*.jsonl` of a run), from which skills are extracted."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sdar_gym.paths import DAMAGED, first_line, local_path
from sdar_gym.skills.formats.text_files import SkillFormatError, read_bytes
from sdar_gym.text import well_formed
from sdar_gym.validation import flag

TRAIN = "train"


def read_episodes(path: Path, splits: Collection[str] = (TRAIN,)) -> list[dict[str, Any]]:
    """Read the episodes of a run folder (its `episodes/*.jsonl`) or of one such file.

    A run folder also holds the episodes of its evaluation panels. A skill learned from a panel's tasks would be
    measured on them, so only the training split is read by default.

    Args:
        path: The folder or the file.
        splits: Splits that are read; episodes without a split always are.

    Returns:
        The episodes in order, each with the name of its `file`, without which its id is not unique in a run.

    Raises:
        ValueError: There are none, or none of these splits.
        SkillFormatError: A line is no episode.
    """
    path = local_path("The episodes", path)
    files = [path] if path.is_file() else sorted((path / "episodes").glob("*.jsonl"))
    if not files:
        raise ValueError(f"No episodes in {path}; give a run folder, which holds episodes/*.jsonl, or such a file.")
    episodes = [episode for file in files for episode in _read_file(file)]
    kept = [episode for episode in episodes if "split" not in episode or episode["split"] in splits]
    if episodes and not kept:
        found = ", ".join(sorted({episode["split"] for episode in episodes}))
        raise ValueError(
            f"The {len(episodes)} episodes in {path} are of the split {found}, and {', '.join(splits)} was asked for. "
            "Skills learned from tasks must not be measured on them; name the split to learn from it anyway."
        )
    return kept


def _read_file(file: Path) -> Iterator[dict[str, Any]]:
    lines = read_bytes(file, file.name).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            episode = _checked(json.loads(line))
        except (*DAMAGED, ValueError, TypeError, KeyError) as error:
            reason = f"{first_line(error)} is missing" if isinstance(error, KeyError) else first_line(error)
            raise SkillFormatError(
                f"{file.name}, line {number}: no episode ({reason}); fetch the file again."
            ) from None
        yield {**episode, "file": file.stem}


def _checked(episode: Any) -> dict[str, Any]:
    """The episode with well-formed texts; raises for anything that the extraction rules cannot read."""
    if not isinstance(episode, dict):
        raise TypeError(f"it is {type(episode).__name__}, no object")
    clean = dict(episode)
    for key in ("task_type", "goal", "episode_id", "split"):
        if key == "split" and key not in episode:
            continue
        clean[key] = _text(key, episode[key])
    if not isinstance(episode["turns"], list):
        raise TypeError("turns is no list")
    clean["turns"] = [_checked_turn(turn) for turn in episode["turns"]]
    clean["won"] = flag("won", episode["won"])
    return clean


def _checked_turn(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise TypeError(f"a turn is {type(turn).__name__}, no object")
    texts = {key: _text(f"a turn's {key}", turn[key]) for key in ("action", "observation")}
    return {**turn, **texts, "valid_action": flag("valid_action", turn["valid_action"])}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return well_formed(value)
