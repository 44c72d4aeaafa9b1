"""Page data: an index of all episodes, and their contents in compressed chunks that are decoded when looked at."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sdar_gym import __version__
from sdar_gym.evaluation.compare import compare, played_panel
from sdar_gym.report.tokens import NUMBER_LISTS, TEXT_LISTS
from sdar_gym.viewer.recording import Recording, read_episodes
from sdar_gym.viewer.run_details import clip_range, skill_texts, tokens_of

# Uncompressed characters of a chunk: some tens of episodes, decoded in a few milliseconds.
CHUNK_SIZE = 1_000_000
# Longest goal in the list of episodes, in characters; the episode itself has all of it.
_GOAL = 200
# The lists' means that the table of episodes shows.
_MEANS = ("gap", "gate", "entropy")
COLUMNS = (
    "recording", "batch", "episode", "group", "task", "type", "goal", "won", "reward", "turns", "ended", "invalid",
    "tokens", "gap", "gate", "entropy", "chunk", "place",
)  # fmt: skip


@dataclass(slots=True)
class PageData:
    """What a page shows.

    Attributes:
        index: Recordings, curves, metrics and one row an episode, in JSON types.
        chunks: Compressed episodes, each a list in JSON, deflated and in base64.
        notices: What could not be shown, in sentences.
    """

    index: dict[str, Any]
    chunks: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def page_data(
    recordings: Sequence[Recording], report: Callable[[int, int], None] = lambda done, total: None
) -> PageData:
    """Reads recordings for a page.

    Args:
        recordings: One, or two to compare.
        report: Called with the number of files read and of all files.

    Raises:
        RecordingError: A file cannot be read.
    """
    page = PageData({"format": 1, "version": __version__, "columns": COLUMNS})
    types: dict[str, int] = {}
    if len(recordings) == 2:
        page.index["comparison"] = _comparison(*recordings)
    page.index["recordings"] = [_about(recording, page.notices) for recording in recordings]
    rows: list[list[Any]] = []
    chunk = _Chunk(page.chunks)
    files = [(number, batch) for number, recording in enumerate(recordings) for batch in recording.batches()]
    for done, (number, batch) in enumerate(files, start=1):
        place = page.index["recordings"][number]["batches"].index(batch.name)
        tokens = tokens_of(batch, page.notices)
        for episodes in _groups(read_episodes(batch)):
            # The members of a group are looked at together, so they are in one chunk.
            for episode in episodes:
                row = _row(episode, tokens.get(episode["episode_id"], {}), types)
                at = chunk.add({"episode": episode, "tokens": _shown(tokens.get(episode["episode_id"], {}))})
                rows.append([number, place, *row, *at])
            chunk.close_if_full()
        report(done, len(files))
    chunk.close()
    page.index["rows"] = rows
    page.index["types"] = list(types)
    page.index["chunks"] = len(page.chunks)
    return page


def _about(recording: Recording, notices: list[str]) -> dict[str, Any]:
    """A recording without its episodes."""
    records = recording.records()
    settings = recording.settings
    result = recording.result
    return {
        "name": recording.name,
        "run": recording.is_run,
        "settings": settings,
        "versions": recording.versions,
        "result": result,
        "evaluations": [
            {"update": record["update"], **record["evaluation"]}
            for record in records
            if isinstance(record.get("evaluation"), dict)
        ],
        "metrics": _series(records),
        "batches": [batch.name for batch in recording.batches()],
        "clip": clip_range(settings),
        "skills": {
            name: {"title": title, "text": text} for name, (title, text) in skill_texts(recording, notices).items()
        },
    }


def _comparison(first: Recording, second: Recording) -> dict[str, Any] | None:
    """The paired difference of the last evaluations; None where they cannot be compared, which the page says."""
    try:
        found = compare(played_panel(first.path), played_panel(second.path))
    except ValueError:
        return None
    return {"difference": found.all.difference, "low": found.all.low, "high": found.all.high, "method": found.method}


def _series(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The metrics of updates by `section/name`, each as two lists: updates and values."""
    series: dict[str, list[Any]] = {}
    for record in records:
        for section, values in record.items():
            if not isinstance(values, dict) or section == "evaluation":
                continue
            for name, value in values.items():
                if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                    updates, numbers = series.setdefault(f"{section}/{name}", [[], []])
                    updates.append(record["update"])
                    numbers.append(_rounded(value))
    return series


def _groups(episodes: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for _, members in groupby(episodes, key=lambda episode: str(episode["episode_id"]).partition("/")[0]):
        yield list(members)


def _row(episode: Mapping[str, Any], tokens: Mapping[int, Mapping[str, Any]], types: dict[str, int]) -> list[Any]:
    """The episode's row in the index, but for its recording, batch and place."""
    turns = episode["turns"]
    invalid = sum(not (turn.get("valid_form", True) and turn.get("valid_action", True)) for turn in turns)
    return [
        episode["episode_id"],
        str(episode["episode_id"]).partition("/")[0],
        episode["task_id"],
        types.setdefault(episode["task_type"], len(types)),
        episode["goal"][:_GOAL],
        int(episode["won"]),
        _rounded(episode.get("reward", 0.0)),
        len(turns),
        episode.get("ended", ""),
        invalid,
        int(bool(tokens)),
        *(_mean(tokens.values(), name) for name in _MEANS),
    ]


def _mean(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values = [value for row in rows for value in row[name] or () if value is not None]
    return _rounded(sum(values) / len(values)) if values else None


def _shown(tokens: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Token rows without what the episode says already."""
    keys = ("advantage", "teacher_context", *TEXT_LISTS, *NUMBER_LISTS)
    return {turn: {key: row[key] for key in keys if row[key] is not None} for turn, row in tokens.items()}


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value


class _Chunk:
    """Collects episodes until they fill a chunk."""

    def __init__(self, chunks: list[str]):
        self._chunks, self._texts, self._size = chunks, [], 0

    def add(self, content: Mapping[str, Any]) -> tuple[int, int]:
        """Adds an episode; returns its chunk and its place there."""
        # ASCII escapes keep lone surrogates, which a model can write and UTF-8 cannot encode.
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        self._texts.append(text)
        self._size += len(text)
        return len(self._chunks), len(self._texts) - 1

    def close_if_full(self) -> None:
        if self._size >= CHUNK_SIZE:
            self.close()

    def close(self) -> None:
        """Compresses what was added since the last time."""
        if self._texts:
            content = f"[{','.join(self._texts)}]".encode("ascii")
            self._chunks.append(base64.b64encode(zlib.compress(content, 6)).decode("ascii"))
        self._texts, self._size = [], 0
