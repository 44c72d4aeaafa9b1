"""Resuming a run: checks that checkpoint, panel and metrics fit, and which settings may change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sdar_gym.configs import load_config
from sdar_gym.configs.record import flat_settings, resolved, settings_of, versions
from sdar_gym.configs.schema import ConfigError, RunConfig, parse_run_config
from sdar_gym.envs.tasks import PanelError, load_panel
from sdar_gym.files import append_line
from sdar_gym.paths import DAMAGED, first_line, local_path
from sdar_gym.runs.checkpoint import CheckpointError, Manifest, read_manifest, verify_checkpoint
from sdar_gym.runs.folder import RunFolder, RunFolderError
from sdar_gym.runs.state_tree import flatten_state, unflatten_state
from sdar_gym.text import shortened

# Settings that do not affect what is learned: duration, evaluation and checkpoint intervals, resources.
MAY_CHANGE = (
    "imports",
    "training.iterations",
    "evaluation.interval",
    "checkpoint_interval",
    "checkpoints",
    "trackers",
    "mirror",
    "resources",
    "policy.device",
    "policy.torch_threads",
    "policy.gradient_checkpointing",
    "training.micro_batch_tokens",
    "rollout.max_batch_tokens",
    "rollout.max_failed_tasks",
    "rollout.turn_timeout_s",
    "rollout.stall_timeout_s",
    "evaluation.batch_size",
    "policy.offload_teacher",
)
# Paths that may change if the old path no longer exists.
_PLACES = ("policy.model", "skills.library", "env_config", "evaluation.panel")


class ResumeError(ValueError):
    """A run that cannot be resumed in this way."""


@dataclass(frozen=True, slots=True)
class Change:
    """A changed setting.

    Attributes:
        key: Its dotted name.
        before: The old value; None if there was none.
        now: The new value.
    """

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.now)}"


@dataclass(frozen=True, slots=True)
class Resumption:
    """Plan for resuming a run.

    Attributes:
        folder: The run folder.
        run: The configuration to use; its panel is the run's own file.
        checkpoint: The checkpoint to load.
        manifest: Its manifest.
        changes: The changed settings, all of which may change.
        first: The evaluation before the first update, if there is one.
        latest: The latest evaluation up to the checkpoint.
        evaluated: Its update; -1 if there is none.
        best: Success of the evaluation whose checkpoint is kept as the best; -1 if there is none.
    """

    folder: RunFolder
    run: RunConfig
    checkpoint: Path
    manifest: Manifest
    changes: tuple[Change, ...]
    first: dict[str, Any] | None
    latest: dict[str, Any] | None
    evaluated: int
    best: float = -1.0

    def note(self) -> None:
        """Append this resume to `resumes.jsonl`, and write the new settings to `config.yaml`."""
        entry = {
            "update": self.manifest.update,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "changes": {change.key: [change.before, change.now] for change in self.changes},
            **versions(),
        }
        with self.folder.writing():
            append_line(self.folder.path / "resumes.jsonl", json.dumps(entry, ensure_ascii=False))
        self.folder.write_config(self.as_written())

    def as_written(self) -> RunConfig:
        """The configuration for the run folder, with the panel setting as the user gave it."""
        panel = self.manifest.settings["evaluation"]["panel"]
        return replace(self.run, evaluation=replace(self.run.evaluation, panel=panel))


def plain_settings(run: RunConfig) -> Any:
    """A run's configuration as a checkpoint's manifest holds it: JSON, without secrets."""
    return flatten_state(settings_of(run))[0]


def resumed_run(folder: Path, config: str | None = None, changes: Sequence[str] = ()) -> tuple[Resumption, list[str]]:
    """Plan the resume of a run given on the command line.

    Args:
        folder: The run folder.
        config: A configuration given beside `--resume`; it must be for the same environment.
        changes: `key=value`.

    Returns:
        The plan, and the names of the settings in `config` that differ from the run's and are ignored.

    Raises:
        ValueError: It is not a run folder, its configuration is damaged, or a setting cannot change.
    """
    place = RunFolder(local_path("--resume", folder))
    if not place.path.is_dir():
        raise RunFolderError(f"{place.path} holds no checkpoint to resume from: there is no such folder.")
    if (place.path / "warmstart.json").is_file():
        raise RunFolderError(f"{place.path} is a warm start: sdar-gym warmstart --resume {place.path} continues it.")
    if not place.checkpoint.is_dir():
        raise RunFolderError(
            f"{place.path} holds no checkpoint to resume from: the run ended before its first one, or this is not "
            "a run folder. Start it again."
        )
    if not place.config.is_file():
        raise RunFolderError(f"{place.path} holds no config.yaml: it is not a run folder, or part of it is missing.")
    _refuse_earlier_version(place)
    given = [change.partition("=")[0].strip() for change in changes]
    if "name" in given:
        raise ResumeError(f"name has no effect with --resume: the run stays in {place.path}. Leave it out.")
    own, unused = _own_config(place, ()), []
    if config is not None:
        named = load_config(config)
        if named.env != own.env:
            raise ResumeError(
                f"{config} is a configuration for {named.env}, and {place.path} is a run on {own.env}. A resumed run "
                "takes its settings from its own config.yaml; leave the configuration out, or name the run's."
            )
        unused = [change.key for change in changed_settings(own, resolved(named)) if change.key != "name"]
    forgotten = [key for key in place.secrets() if key not in given]
    if forgotten:
        raise ResumeError(
            f"{forgotten[0]} had a password or a query in its address, which a run folder does not keep: give it "
            f"again, as {forgotten[0]}=…"
        )
    run = _own_config(place, changes)
    if "runs_dir" in given and local_path("runs_dir", run.runs_dir) != place.path.parent:
        raise ResumeError(
            f"runs_dir has no effect with --resume: the run stays in {place.path}. Leave it out, or move the folder."
        )
    return plan_resume(place, run), unused


def _refuse_earlier_version(folder: RunFolder) -> None:
    """Refuses a run whose settings have names that were changed since.

    Raises:
        ResumeError: It has a setting `algorithm`, which is `method` now.
    """
    with suppress(OSError, UnicodeError):
        if any(line.startswith("algorithm:") for line in folder.config.read_text(encoding="utf-8").splitlines()):
            raise ResumeError(
                f"{folder.path} was written by an earlier version, whose settings had other names (method was "
                "algorithm), and cannot be resumed. Start from its policy: "
                f"policy.model={folder.policy}, if it was exported."
            )


def _own_config(folder: RunFolder, changes: Sequence[str]) -> RunConfig:
    try:
        return load_config(str(folder.config), changes)
    except DAMAGED as error:
        raise RunFolderError(f"{folder.config} is damaged: {first_line(error)}.") from error
    except ConfigError as error:
        # The parser's message about damaged YAML has several lines.
        raise ConfigError(" ".join(str(error).split())) from error


def plan_resume(folder: RunFolder, run: RunConfig, *, verify: bool = False) -> Resumption:
    """Check that a run can be resumed, before anything is started.

    Args:
        folder: The run folder.
        run: The configuration to use.
        verify: Also read the whole checkpoint and compare hashes.

    Raises:
        ValueError: Checkpoint, panel or metrics are damaged or of another run, or a setting cannot change.
    """
    manifest = _own_checkpoint(folder, verify)
    run = replace(resolved(run), runs_dir=str(folder.path.parent))
    own_panel = run.evaluation.panel == str(folder.panel)
    try:
        before = parse_run_config(unflatten_state(manifest.settings, {}), f"the settings in {folder.checkpoint}")
    except ConfigError as error:
        raise CheckpointError(f"{folder.checkpoint} was written by a version with other settings: {error}") from error
    if own_panel:
        run = replace(run, evaluation=replace(run.evaluation, panel=before.evaluation.panel))
    changes = changed_settings(before, run)
    _refuse_changes(folder, changes)
    if run.training.iterations < manifest.update:
        raise ResumeError(
            f"training.iterations={run.training.iterations}, and {folder.path} has done {manifest.update} updates: a "
            "run cannot go back. Ask for as many or more."
        )
    _check_panel(folder, manifest)
    records = [record for record in folder.records() if record["update"] <= manifest.update]
    missing = sorted(set(range(1, manifest.update + 1)) - {record["update"] for record in records})
    if missing:
        raise RunFolderError(
            f"{folder.path / 'metrics.jsonl'} has no line of update {missing[0]}, and the checkpoint is that of update "
            f"{manifest.update}: part of the file is missing, or the checkpoint is another run's."
        )
    evaluations = {record["update"]: record["evaluation"] for record in records if "evaluation" in record}
    if manifest.update and 0 not in evaluations:
        raise RunFolderError(
            f"{folder.path / 'metrics.jsonl'} has no evaluation before the first update: part of the file is missing."
        )
    newest = max(evaluations, default=-1)
    return Resumption(
        folder,
        replace(run, evaluation=replace(run.evaluation, panel=str(folder.panel))),
        folder.checkpoint,
        manifest,
        tuple(changes),
        evaluations.get(0),
        evaluations.get(newest),
        newest,
        _best_success(folder, evaluations),
    )


def _best_success(folder: RunFolder, evaluations: Mapping[int, Mapping[str, Any]]) -> float:
    """Success of the evaluation whose checkpoint is kept as the best; -1 if there is none up to this update."""
    try:
        update = read_manifest(folder.best_checkpoint).update
    except CheckpointError:
        return -1.0
    return float(evaluations[update]["success"]) if update in evaluations else -1.0


def changed_settings(before: RunConfig, now: RunConfig) -> list[Change]:
    """The settings in which two configurations differ, by dotted name, except for `runs_dir`.

    Passwords in addresses are not compared: a run folder does not keep them.
    """
    old, new = flat_settings(settings_of(before)), flat_settings(settings_of(now))
    for one, other in ((old, new), (new, old)):
        for key in [key for key, value in one.items() if value is None and key not in other]:
            # A section that only one side has counts as one setting.
            section = {name: other.pop(name) for name in list(other) if name.startswith(f"{key}.")}
            other[key] = {name.removeprefix(f"{key}."): value for name, value in section.items()} or None
    keys = [*old, *(key for key in new if key not in old)]
    return [
        Change(key, old.get(key), new.get(key))
        for key in keys
        if key != "runs_dir" and (key not in old or key not in new or not _same(old[key], new[key]))
    ]


def _own_checkpoint(folder: RunFolder, verify: bool) -> Manifest:
    """The manifest of the run's newest checkpoint.

    Raises:
        CheckpointError: It is damaged; names the last good one, and how to resume from it.
    """
    check = verify_checkpoint if verify else read_manifest
    run = folder.run_id()
    place = folder.checkpoint

    def own(path: Path, check: Any) -> Manifest:
        manifest = check(path)
        if manifest.run != run:
            raise CheckpointError(f"{path} is a checkpoint of another run, {manifest.run}; this one is {run}.")
        return manifest

    try:
        return own(place, check)
    except CheckpointError as error:
        raise CheckpointError(f"{error} {_last_good(folder, place, own)}") from error


def _last_good(folder: RunFolder, bad: Path, own: Any) -> str:
    for place in (folder.previous_checkpoint, *folder.older_checkpoints):
        if place == bad:
            continue
        try:
            update = own(place, verify_checkpoint).update
        except CheckpointError:
            continue
        to_do = f"move {bad} away" if place == folder.previous_checkpoint else f"rename it to {bad}"
        return f"The last good checkpoint is {place}, of update {update}: to use it, {to_do} and resume again."
    if folder.policy.is_dir():
        return f"There is no other checkpoint; a new run with policy.model={folder.policy} starts from its policy."
    return "There is no other checkpoint: start a new run."


def _refuse_changes(folder: RunFolder, changes: Sequence[Change]) -> None:
    refused = [change for change in changes if not _may_change(change)]
    if not refused:
        return
    told = "; ".join(
        f"{change.key} is {_shown(change.before)} in the run and would be {_shown(change.now)}"
        for change in refused[:5]
    )
    more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
    done = "" if folder.policy.is_dir() else " (once this run has ended)"
    raise ResumeError(
        f"A resumed run keeps its settings: {told}{more}. Only {', '.join(MAY_CHANGE)} may change. For anything else "
        f"start a new run; policy.model={folder.policy} starts it from this one's policy{done}."
    )


def _may_change(change: Change) -> bool:
    if any(change.key == key or change.key.startswith(f"{key}.") for key in MAY_CHANGE):
        return True
    is_place = change.key.endswith("teacher.model") or any(
        change.key == key or change.key.startswith(f"{key}.") for key in _PLACES
    )
    return is_place and _moved(change.before, change.now)


def _moved(before: Any, now: Any) -> bool:
    if not isinstance(before, str) or not isinstance(now, str) or not Path(before).is_absolute():
        return False
    try:
        return not Path(before).exists() and Path(now).is_absolute() and Path(now).exists()
    except (OSError, ValueError):
        return False


def _check_panel(folder: RunFolder, manifest: Manifest) -> None:
    try:
        panel = load_panel(folder.panel)
    except (PanelError, *DAMAGED) as error:
        told = first_line(error) if isinstance(error, PanelError) else f"{folder.panel}: {first_line(error)}."
        raise RunFolderError(f"{told} The run cannot be resumed without its original panel.") from error
    if panel.hash != manifest.panel:
        raise RunFolderError(
            f"{folder.panel} is another panel ({panel.hash}) than the run's ({manifest.panel}): results before and "
            "after would not be comparable. Put the run's own file back."
        )


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, bool) != isinstance(now, bool):
        return False
    return before == now


def _shown(value: Any) -> str:
    return "null" if value is None else shortened(value)
