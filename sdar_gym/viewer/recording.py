"""Recording: what a run folder or an evaluation's folder holds, read for the viewer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sdar_gym.paths import DAMAGED, first_line, local_path
from sdar_gym.text import shortened

_BATCH = re.compile(r"(eval|train)-(\d+)$")
# What the viewer reads of an episode and of a turn; a file without them is not a file of episodes.
_EPISODE_KEYS = {"episode_id": str, "task_id": str, "task_type": str, "goal": str, "won": bool, "turns": list}
_TURN_KEYS = {"observation": str, "response": str, "action": str}


class RecordingError(ValueError):
    """A folder or a file that the viewer cannot read."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The episodes of one update or of one evaluation.

    Attributes:
        name: `eval-00010` or `train-00010` in a run; `episodes` in an evaluation's folder.
        kind: `eval` or `train`.
        update: Number of updates before it.
        file: The episodes.
        tokens: The token file that belongs to them; may not exist.
    """

    name: str
    kind: str
    update: int
    file: Path
    tokens: Path


class Recording:
    """The episodes and metrics of a run folder, or the episodes of an evaluation's folder.

    Args:
        path: The folder.

    Attributes:
        path: The same, absolute.
        name: Its last part.

    Raises:
        RecordingError: It holds no episodes and no metrics.
    """

    def __init__(self, path: Path | str):
        self.path = local_path("The run folder", path)
        self.name = self.path.name
        try:
            found = self.path.is_dir()
        except OSError as error:
            raise RecordingError(
                f"{shortened(str(path))} cannot be read: {error.strerror or first_line(error)}."
            ) from None
        if not found:
            raise RecordingError(f"{self.path} is not a folder; give a run folder, or one that `sdar-gym eval` wrote.")
        if not self.batches() and not (self.path / "metrics.jsonl").is_file():
            raise RecordingError(
                f"{self.path} has neither metrics.jsonl nor episodes; give a run folder, or one that "
                "`sdar-gym eval` wrote."
            )

    @property
    def is_run(self) -> bool:
        """Whether it is a training run's folder."""
        return (self.path / "metrics.jsonl").is_file()

    def batches(self) -> list[Batch]:
        """The files of episodes: by update, those of an evaluation first, since it comes before the next update."""
        if (single := self.path / "episodes.jsonl").is_file():
            return [Batch("episodes", "eval", 0, single, self.path / "tokens.jsonl")]
        found = []
        for file in (self.path / "episodes").glob("*.jsonl"):
            match = _BATCH.match(file.stem)
            if match:
                batch = Batch(file.stem, match[1], int(match[2]), file, self.path / "tokens" / file.name)
                found.append(batch)
        return sorted(found, key=lambda batch: (batch.update, batch.kind == "eval"))

    def records(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, see docs/metrics.md; an incomplete last line is left out.

        Raises:
            RecordingError: A line is no JSON object with an update.
        """
        path = self.path / "metrics.jsonl"
        records = [record for record, _ in _lines(path)] if path.is_file() else []
        for number, record in enumerate(records, start=1):
            if type(record.get("update")) is not int:
                raise RecordingError(f"{path}, line {number}: update is {shortened(record.get('update'))}.")
        return records

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration, as nested settings; empty where none can be read."""
        path = self.path / "config.yaml"
        if not path.is_file():
            return self._json("evaluation.json").get("settings", {})
        try:
            import yaml
        except ModuleNotFoundError:  # Comes with the extra `train`.
            return {}
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (*DAMAGED, ValueError, yaml.YAMLError) as error:
            raise RecordingError(f"{path} cannot be read: {first_line(error)}.") from error
        return content if isinstance(content, dict) else {}

    @cached_property
    def versions(self) -> dict[str, Any]:
        """Package versions, command and machine; empty where none are recorded."""
        return self._json("versions.json") or self._json("evaluation.json").get("versions", {})

    @cached_property
    def result(self) -> dict[str, Any]:
        """The summary of an evaluation; of a run, its last evaluation's result. Empty where there is none."""
        if not self.is_run:
            return self._json("summary.json")
        results = [record["evaluation"] for record in self.records() if isinstance(record.get("evaluation"), dict)]
        return results[-1] if results else {}

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (*DAMAGED, ValueError) as error:
            raise RecordingError(f"{path} is no JSON file: {first_line(error)}.") from error
        return content if isinstance(content, dict) else {}


def read_episodes(batch: Batch) -> Iterator[dict[str, Any]]:
    """The episodes of a file, in order; an incomplete last line is left out, since it may still be written.

    Args:
        batch: The file.

    Raises:
        RecordingError: A line is no episode.
    """
    for episode, number in _lines(batch.file):
        where = f"{batch.file}, line {number}"
        _check_keys(episode, _EPISODE_KEYS, where)
        for place, turn in enumerate(episode["turns"], start=1):
            if not isinstance(turn, dict):
                raise RecordingError(f"{where}: turn {place} is no JSON object.")
            _check_keys(turn, _TURN_KEYS, f"{where}, turn {place}")
        yield episode


def _check_keys(content: dict[str, Any], keys: dict[str, type], where: str) -> None:
    for key, kind in keys.items():
        if not isinstance(content.get(key), kind):
            raise RecordingError(f"{where}: {key} is {shortened(content.get(key))}; this is no episode of a run.")


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The JSON objects of a file with their line numbers."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                if not line.strip():
                    continue
                try:
                    content = json.loads(line)
                except (*DAMAGED, ValueError) as error:
                    raise RecordingError(f"{path}, line {number}, is no JSON: {first_line(error)}.") from None
                if not isinstance(content, dict):
                    raise RecordingError(f"{path}, line {number}, is {shortened(content)}, no JSON object.")
                yield content, number
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or first_line(error)}.") from error
