"""Run folder: resolved configuration, versions, panel, metrics, episodes, checkpoints, exported policy, curve."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from sdar_gym.configs.record import left_out, settings_of, versions
from sdar_gym.configs.run_names import check_run_name
from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.files import append_line, flush_folder, flush_tree, fresh_sibling, remove_unfinished, replace_text
from sdar_gym.paths import DAMAGED, first_line, local_path
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.text import shortened


class RunFolderError(ValueError):
    """A run folder that cannot be read, written or resumed."""


class RunFolder:
    """`<runs_dir>/<name>-<method>[-n]/`.

    Holds config.yaml, versions.json, panel.json, metrics.jsonl, episodes/*.jsonl, checkpoint/, previous_checkpoint/,
    policy/, summary.json, curve.png and, if the run was resumed, resumes.jsonl.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path

    @property
    def newest_checkpoint(self) -> Path:
        """Path of the newest checkpoint."""
        return self.path / "checkpoint"

    @property
    def previous_checkpoint(self) -> Path:
        """Path of the previous checkpoint, kept in case the newest one is damaged."""
        return self.path / "previous_checkpoint"

    @property
    def best_checkpoint(self) -> Path:
        """Path of the checkpoint with the best evaluation so far."""
        return self.path / "best_checkpoint"

    @property
    def older_checkpoints(self) -> list[Path]:
        """Kept checkpoints before the previous one, the newest first."""
        return sorted((path for path in self.path.glob("checkpoint-*") if path.is_dir()), reverse=True)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint to resume from: the newest one that exists."""
        newest, previous = self.newest_checkpoint, self.previous_checkpoint
        # The newest is missing if a user moved it away, or if the process died between two renames.
        return previous if previous.exists() and not newest.exists() else newest

    @property
    def policy(self) -> Path:
        """The exported policy, in the `transformers` format."""
        return self.path / "policy"

    @property
    def panel(self) -> Path:
        """The frozen evaluation panel."""
        return self.path / "panel.json"

    @property
    def config(self) -> Path:
        """The settings that the run uses, or used last."""
        return self.path / "config.yaml"

    def write_start(self, config: RunConfig, panel: TaskPanel | None, stop_tokens: Sequence[str] = ()) -> str:
        """Write the run's record before it starts.

        Args:
            config: The run's configuration.
            panel: Its frozen evaluation panel; None if it evaluates nothing.
            stop_tokens: Tokens that end a response: model, tokenizer and chat template may name different ones.

        Returns:
            The run's id, which its checkpoints hold too, so they cannot be mixed up with another run's.
        """
        run = secrets.token_hex(8)
        with self.writing():
            self.write_config(config)
            content = {"run": run, **versions(), "stop_tokens": [*stop_tokens], "secrets_left_out": left_out(config)}
            replace_text(self.path / "versions.json", json.dumps(content, indent=1) + "\n")
            if panel is not None:
                panel.save(self.panel)
            replace_text(self.path / "metrics.jsonl", "")
        return run

    def write_config(self, config: RunConfig) -> None:
        """Write `config.yaml`."""
        with self.writing():
            replace_text(self.config, yaml.safe_dump(settings_of(config), sort_keys=False, allow_unicode=True))

    def run_id(self) -> str:
        """The run's id.

        Raises:
            RunFolderError: `versions.json` is missing or damaged.
        """
        return self._about("run", str)

    def secrets(self) -> list[str]:
        """Dotted names of the settings that `config.yaml` shortens because they hold a secret.

        Raises:
            RunFolderError: `versions.json` is missing or damaged.
        """
        return self._about("secrets_left_out", list)

    def _about(self, key: str, kind: type) -> Any:
        path = self.path / "versions.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))[key]
        except (*DAMAGED, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{path} does not identify the run: {_reason(error)}. It was written when the run began; put it "
                "back, or start a new run."
            ) from error
        if not isinstance(value, kind):
            raise RunFolderError(f"{path} was changed: {key} is {shortened(value)}. Put it back, or start a new run.")
        return value

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`; non-finite numbers become null and are named in `not_finite`."""
        wrong: list[str] = []
        content = _plain(record, wrong)
        if wrong:
            content["not_finite"] = wrong
        with self.writing():
            append_line(self.path / "metrics.jsonl", json.dumps(content, allow_nan=False))

    def records(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`; an incomplete last line is skipped.

        Raises:
            RunFolderError: The file cannot be read, or a line is not a metrics record.
        """
        path = self.path / "metrics.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except DAMAGED as error:
            raise RunFolderError(f"{path} cannot be read: {_reason(error)}.") from error
        records = []
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):
                break
            try:
                record = json.loads(line)
                update = record["update"]
                if type(update) is not int or update < 0:
                    raise ValueError(f"update is {shortened(update)}")
                evaluation = record.get("evaluation", {"success": 0.0})
                if not isinstance(evaluation["success"], int | float):
                    raise ValueError("its evaluation has no success")
            except (*DAMAGED, ValueError, KeyError, TypeError, AttributeError) as error:
                raise RunFolderError(
                    f"{path}, line {number}, is not a metrics record of a run: {_reason(error)}."
                ) from error
            records.append(record)
        return records

    def forget_after(self, update: int) -> None:
        """Drop the metrics of later updates, which a resumed run computes again."""
        kept = [record for record in self.records() if record["update"] <= update]
        with self.writing():
            replace_text(self.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))

    def write_episodes(self, name: str, episodes: Iterable[Episode]) -> None:
        """Write `episodes/<name>.jsonl`."""
        folder = self.path / "episodes"
        with self.writing():
            folder.mkdir(exist_ok=True)
            with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                for episode in episodes:
                    file.write(json.dumps(episode.to_json(), ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`."""
        with self.writing():
            replace_text(self.path / "summary.json", json.dumps(_plain(summary, []), indent=1) + "\n")

    @contextmanager
    def fresh_checkpoint(self, keep: int = 2) -> Iterator[Path]:
        """Context manager: an empty folder that becomes the newest checkpoint at the end of a successful block.

        Args:
            keep: Number of newest checkpoints that stay, this one included; at least 2.
        """
        with self.writing(), fresh_sibling(self.newest_checkpoint) as fresh:
            yield fresh
            self._replace_checkpoint(fresh, keep)

    def _replace_checkpoint(self, fresh: Path, keep: int) -> None:
        """Make a finished checkpoint the newest one; the newest becomes the previous one, and so on.

        At least one checkpoint exists at any time. If the process dies between the renames, `recover` completes them.
        """
        newest, previous = self.newest_checkpoint, self.previous_checkpoint
        with fresh_sibling(newest) as old:
            if newest.exists():
                if previous.exists():
                    os.replace(previous, self._older_place(previous, old) if keep > 2 else old / "checkpoint")
                os.replace(newest, previous)
            os.replace(fresh, newest)
            flush_folder(self.path)
            for number, path in enumerate(self.older_checkpoints[max(0, keep - 2) :]):
                # Renamed first: a half removed checkpoint must not have the name of a whole one.
                os.replace(path, old / str(number))

    def _older_place(self, previous: Path, old: Path) -> Path:
        """The name that the previous checkpoint gets, which is free then."""
        from sdar_gym.runs.checkpoint import CheckpointError, read_manifest

        try:
            place = self.path / f"checkpoint-{read_manifest(previous).update:06d}"
        except CheckpointError:
            return old / "checkpoint"
        if place.exists():  # Of the same update, which was done again after a failure.
            os.replace(place, old / "same")
        return place

    def keep_best(self) -> None:
        """Keep the newest checkpoint as the best one; its files are linked where the disk has links, else copied."""
        best = self.best_checkpoint
        with self.writing(), fresh_sibling(best) as fresh, fresh_sibling(best) as old:
            for file in self.checkpoint.iterdir():
                try:
                    os.link(file, fresh / file.name)
                except OSError:
                    shutil.copy2(file, fresh / file.name)
            flush_tree(fresh)
            if best.exists():
                os.replace(best, old / "checkpoint")
            os.replace(fresh, best)
            flush_folder(self.path)

    def recover(self) -> None:
        """Clean up after a killed process; the caller holds the lock."""
        from sdar_gym.runs.checkpoint import CheckpointError, verify_checkpoint

        newest, previous = self.newest_checkpoint, self.previous_checkpoint
        with self.writing():
            if previous.exists() and not newest.exists():
                for fresh in sorted(self.path.glob(f"{newest.name}.*")):
                    try:
                        if verify_checkpoint(fresh).update > verify_checkpoint(previous).update:
                            os.replace(fresh, newest)
                            break
                    except CheckpointError:
                        continue
            if not self.best_checkpoint.exists():
                for fresh in sorted(self.path.glob(f"{self.best_checkpoint.name}.*")):
                    with suppress(CheckpointError):
                        verify_checkpoint(fresh)
                        os.replace(fresh, self.best_checkpoint)
                        break
            remove_unfinished(
                self.path,
                (
                    newest.name,
                    previous.name,
                    self.best_checkpoint.name,
                    *("policy", "config.yaml", "versions.json", "metrics.jsonl", "summary.json", "warmstart.json"),
                ),
            )

    def way_back(self) -> str:
        """How to resume the run: a sentence with its last good checkpoint and the option."""
        from sdar_gym.runs.checkpoint import CheckpointError, read_manifest

        for place in (self.newest_checkpoint, self.previous_checkpoint, *self.older_checkpoints):
            try:
                update = read_manifest(place).update
            except CheckpointError:
                continue
            return f"Its last good checkpoint is that of update {update}; --resume {self.path} continues from it."
        return f"{self.path} has no checkpoint yet."

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Context manager: turns errors of a full disk or a read-only folder into one message.

        Raises:
            RunFolderError: Names the folder, the reason and how to resume.
        """
        try:
            yield
        except OSError as error:
            raise RunFolderError(f"Cannot write to {self.path}: {_reason(error)}. {self.way_back()}") from error


def new_run_folder(config: RunConfig) -> RunFolder:
    """Create a new folder for a run; a number is appended if the name is taken.

    Raises:
        ValueError: The name is not a valid folder name, or the folder cannot be created.
    """
    check_run_name(config.name)
    check_run_name(config.method, "method")
    first = local_path("runs_dir", config.runs_dir) / f"{config.name}-{config.method}"
    path, number = first, 1
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                path.mkdir()
            except FileExistsError:
                if not first.parent.is_dir():
                    raise
                number += 1
                path = first.with_name(f"{first.name}-{number}")
            else:
                return RunFolder(path)
    except OSError as error:
        raise ValueError(f"Cannot create the run folder {path}: {error}. Set runs_dir to a writable folder.") from error


def remove_if_empty(folder: RunFolder) -> None:
    """Remove a new run folder if nothing was written to it."""
    names = {entry.name for entry in folder.path.iterdir()} if folder.path.is_dir() else set()
    if names <= {"run.lock"}:
        shutil.rmtree(folder.path, ignore_errors=True)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)


def _plain(value: Any, wrong: list[str], path: str = "") -> Any:
    """Convert NumPy numbers to JSON types; non-finite numbers become null, and their paths are added to `wrong`."""
    if isinstance(value, dict):
        return {str(key): _plain(inner, wrong, f"{path}.{key}" if path else str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, wrong, f"{path}[{number}]") for number, inner in enumerate(value)]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        wrong.append(path)
        return None
    return value
