"""Evaluation folder: the record, the panel, one row per finished episode, the failed ones apart, and the summary."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sdar_gym.envs.tasks import PanelError, TaskPanel, load_panel
from sdar_gym.evaluation.record import EvaluationRecord
from sdar_gym.evaluation.rows import episode_of, read_rows, whole_length
from sdar_gym.files import append_line, replace_text
from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.rollout.trajectory import Episode

RECORD, PANEL, EPISODES, ERRORS, SUMMARY = (
    "evaluation.json",
    "panel.json",
    "episodes.jsonl",
    "errors.jsonl",
    "summary.json",
)


class EvaluationFolderError(ValueError):
    """An evaluation folder that cannot be read or written."""


class EvaluationFolder:
    """The folder of one evaluation.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path

    def refuse_another(self) -> None:
        """Refuses to begin a second evaluation here.

        Raises:
            EvaluationFolderError: The folder holds an evaluation already.
        """
        if (self.path / RECORD).exists() or (self.path / EPISODES).exists():
            raise EvaluationFolderError(
                f"{self.path} holds an evaluation already. Continue it with --resume {self.path}, or name another "
                "folder with --output."
            )

    def begin(self, record: EvaluationRecord, panel: TaskPanel) -> None:
        """Writes record and panel of a new evaluation.

        Raises:
            EvaluationFolderError: The folder holds an evaluation already, or cannot be written.
        """
        self.refuse_another()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            panel.save(self.path / PANEL)
            (self.path / EPISODES).touch()
            replace_text(self.path / RECORD, json.dumps(record.to_json(), indent=1, ensure_ascii=False) + "\n")
        except (OSError, PanelError) as error:
            raise EvaluationFolderError(f"Cannot write to {self.path}: {first_line(error)}.") from error

    def record(self) -> EvaluationRecord:
        """The record.

        Raises:
            EvaluationFolderError: It is missing or damaged.
        """
        path = self.path / RECORD
        if not path.is_file():
            raise EvaluationFolderError(
                f"{self.path} is no evaluation folder: it has no {RECORD}. Name a folder that sdar-gym eval wrote."
            )
        try:
            return EvaluationRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (*DAMAGED, ValueError) as error:
            raise EvaluationFolderError(f"{path} cannot be used: {first_line(error).removesuffix('.')}.") from error

    def panel(self) -> TaskPanel:
        """The panel.

        Raises:
            PanelError: It is missing, damaged or was changed.
            EvaluationFolderError: It is not the record's.
        """
        panel, record = load_panel(self.path / PANEL), self.record()
        if panel.hash != record.panel_hash:
            raise EvaluationFolderError(
                f"{self.path / PANEL} is another panel ({panel.hash}) than the evaluation's ({record.panel_hash}). Put "
                "its own file back."
            )
        return panel

    def episodes(self, *, torn: bool = False) -> list[Episode]:
        """The finished episodes, by group and member.

        Args:
            torn: Whether a torn last line is dropped, also from the file, so that rows can be appended.

        Raises:
            EpisodeRowError: A line is no episode.
            EvaluationFolderError: An episode occurs twice or is none of the panel's.
        """
        path = self.path / EPISODES
        rows = read_rows(path, torn=torn)
        if torn and (whole := whole_length(path)) < path.stat().st_size:
            with path.open("r+b") as file:
                file.truncate(whole)
        tasks = self.panel().task_ids
        found: dict[tuple[int, int], Episode] = {}
        for row in rows:
            episode = episode_of(row)
            key = (episode.group_id, episode.member)
            if key in found:
                raise EvaluationFolderError(f"{path} has the episode {episode.episode_id} twice.")
            if episode.group_id >= len(tasks) or tasks[episode.group_id] != episode.task_id:
                raise EvaluationFolderError(
                    f"{path} has an episode {episode.episode_id} that does not play the task with that number in "
                    f"{PANEL}: the files are of two evaluations."
                )
            found[key] = episode
        return [found[key] for key in sorted(found)]

    def add(self, episode: Episode) -> None:
        """Appends an episode at its end: a result to `episodes.jsonl`, a failed one to `errors.jsonl`."""
        name = ERRORS if episode.ended == "error" else EPISODES
        try:
            append_line(self.path / name, json.dumps(episode.to_json(), ensure_ascii=False))
        except OSError as error:
            raise EvaluationFolderError(
                f"Cannot write to {self.path}: {error.strerror or first_line(error)}. --resume {self.path} continues."
            ) from error

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes `summary.json`."""
        replace_text(self.path / SUMMARY, json.dumps(summary, indent=1) + "\n")


def new_evaluation_folder(runs_dir: Path, name: str) -> EvaluationFolder:
    """Creates `eval-<name>` in a folder; a number is appended if the name is taken.

    Args:
        runs_dir: The folder.
        name: Any text; characters that a folder's name should not have become hyphens.

    Raises:
        EvaluationFolderError: It cannot be created.
    """
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name).strip("-.")[:80]
    first = runs_dir / f"eval-{plain or 'policy'}"
    path, number = first, 1
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                os.mkdir(path)
            except FileExistsError:
                number += 1
                path = first.with_name(f"{first.name}-{number}")
            else:
                return EvaluationFolder(path)
    except OSError as error:
        raise EvaluationFolderError(
            f"Cannot create {path}: {error.strerror or first_line(error)}. Name a folder with --output."
        ) from error
