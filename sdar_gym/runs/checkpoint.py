"""Run checkpoints: safetensors, JSON and a manifest with hashes; loading one executes no code in it.

| file | content |
|---|---|
| `weights.safetensors` | the trained weights: the model, or its adapters |
| `optimizer.safetensors` | moments of AdamW |
| `teacher.safetensors` | weights of an averaged or stale teacher, if there is one |
| `state.json` | everything else: counters, metrics, correlation of gap and advantage, retrieval statistics |
| `manifest.json` | format, update, run id, settings, panel, and size and SHA-256 of every file |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sdar_gym.files import flush_tree, replace_text
from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.policy.non_finite import NonFiniteError, refuse_not_finite
from sdar_gym.runs.state_tree import StateTreeError, flatten_state, unflatten_state
from sdar_gym.text import shortened

FORMAT = 1
MANIFEST, STATE = "manifest.json", "state.json"
_KIND = "sdar-gym checkpoint"
# Parts of the learner's state that are stored in separate files, by their keys in the state.
_PARTS = {"rl_module": "weights", "optimizer": "optimizer", "teacher_weights": "teacher"}
_CHUNK = 1 << 22


class CheckpointError(ValueError):
    """A checkpoint that is damaged, incomplete, of another run, or of another format."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Content of a checkpoint's `manifest.json`.

    Attributes:
        update: Number of updates done.
        run: The run's id.
        settings: The run's configuration.
        panel: Hash of its evaluation panel.
        files: Size and SHA-256 by file name.
    """

    update: int
    run: str
    settings: dict[str, Any]
    panel: str
    files: dict[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An algorithm's state as a checkpoint holds it.

    Attributes:
        update: Number of updates done.
        contents: JSON content by part.
        tensors: Named tensors by part.
    """

    update: int
    contents: dict[str, Any]
    tensors: dict[str, dict[str, torch.Tensor]]


def snapshot_of(state: Mapping[str, Any], *, copy: bool = False) -> Snapshot:
    """Takes a snapshot of an algorithm's state.

    Args:
        state: Result of `SDAR.resumable_state`.
        copy: Whether tensors are copied, because training goes on with them before the snapshot is written.

    Raises:
        NonFiniteError: Some weights are not finite.
    """
    rest = dict(state)
    learner = dict(rest["learner_group"]["learner"])
    rest["learner_group"] = {"learner": learner}
    parts = {part: learner.pop(name) for name, part in _PARTS.items() if name in learner}
    contents, tensors = {}, {}
    for part, tree in {**parts, "state": rest}.items():
        contents[part], tensors[part] = flatten_state(tree)
        refuse_not_finite(f"A checkpoint was not written: its {part}", tensors[part])
        if copy:
            tensors[part] = {name: tensor.clone() for name, tensor in tensors[part].items()}
    return Snapshot(int(state["training_iteration"]), contents, tensors)


def write_checkpoint(folder: Path, state: Mapping[str, Any] | Snapshot, *, run: str, settings: Any, panel: str) -> None:
    """Write an algorithm's state as a checkpoint and flush it to disk.

    Args:
        folder: An empty folder.
        state: Result of `SDAR.resumable_state`, or a snapshot of it.
        run: The run's id.
        settings: The run's configuration, as plain data.
        panel: Hash of its evaluation panel.

    Raises:
        NonFiniteError: Some weights are not finite.
    """
    snapshot = state if isinstance(state, Snapshot) else snapshot_of(state)
    files = {}
    for part, tensors in snapshot.tensors.items():
        if tensors:
            try:
                save_file(tensors, folder / f"{part}.safetensors")
            except SafetensorError as error:
                # safetensors raises its own error for a full disk.
                raise OSError(f"{part}.safetensors: {first_line(error)}") from error
    (folder / STATE).write_text(json.dumps(snapshot.contents, allow_nan=False) + "\n", encoding="utf-8")
    for file in sorted(folder.iterdir()):
        files[file.name] = {"bytes": file.stat().st_size, "sha256": _sha256(file)}
    content = {
        "kind": _KIND,
        "format": FORMAT,
        "update": snapshot.update,
        "run": run,
        "panel": panel,
        "settings": settings,
        "files": files,
    }
    # The manifest last: a folder without it is not a checkpoint.
    text = json.dumps({**content, "sha256": _digest(content)}, indent=1, ensure_ascii=False, allow_nan=False)
    replace_text(folder / MANIFEST, text + "\n")
    flush_tree(folder)


def read_manifest(folder: Path) -> Manifest:
    """Read a checkpoint's manifest, without checking its files.

    Raises:
        CheckpointError: There is no checkpoint, or its manifest is damaged or of another format.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint {folder}.")
    path = folder / MANIFEST
    if not path.exists():
        if (folder / "rllib_checkpoint.json").exists() or any(folder.glob("*.pkl")):
            raise CheckpointError(
                f"{folder} is of an older format, made of Python pickles. It is not loaded: loading a pickle executes "
                "code in it."
            )
        raise CheckpointError(f"{folder} is incomplete: it has no {MANIFEST}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except DAMAGED as error:
        raise CheckpointError(f"{folder} is damaged: {MANIFEST} cannot be read ({first_line(error)}).") from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise CheckpointError(f"{folder} is damaged: {MANIFEST} does not describe a checkpoint of sdar-gym.")
    number = content.get("format")
    if number != FORMAT:
        age = "newer" if isinstance(number, int) and number > FORMAT else "older or unknown"
        raise CheckpointError(
            f"{folder} is of the {age} format {shortened(number)}, and this version of sdar-gym reads format {FORMAT}."
        )
    digest = content.pop("sha256", None)
    try:
        if digest != _digest(content):
            raise ValueError("it was changed after it was written")
        update, run, panel = content["update"], content["run"], content["panel"]
        if type(update) is not int or update < 0 or not isinstance(run, str) or not isinstance(panel, str):
            raise TypeError("update, run or panel has the wrong type")
        files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in content["files"].items()}
        return Manifest(update, run, dict(content["settings"]), panel, files)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder} is damaged: {MANIFEST} is wrong ({first_line(error)}).") from error


def verify_checkpoint(folder: Path) -> Manifest:
    """Check that every file exists and has its recorded hash, and that all weights are finite.

    Raises:
        CheckpointError: Names the file and what is wrong with it.
    """
    manifest = read_manifest(folder)
    if STATE not in manifest.files or "weights.safetensors" not in manifest.files:
        raise CheckpointError(f"{folder} is damaged: {MANIFEST} names no {STATE} or no weights.")
    for name, (size, digest) in manifest.files.items():
        file = folder / name
        try:
            if Path(name).name != name or not file.is_file():
                raise CheckpointError(f"{folder} is incomplete: {shortened(name)} is missing.")
            if file.stat().st_size != size:
                raise CheckpointError(
                    f"{folder} is damaged: {name} has {file.stat().st_size:,} bytes, and had {size:,} when it was "
                    "written."
                )
            if _sha256(file) != digest:
                raise CheckpointError(
                    f"{folder} is damaged: {name} was changed after it was written (SHA-256 differs)."
                )
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be read: {name}: {first_line(error)}.") from error
    for name in manifest.files:
        if name.endswith(".safetensors"):
            _tensors(folder, name, keep=False)
    return manifest


def read_state(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Read an algorithm's state for `set_state`; call `verify_checkpoint` first.

    Raises:
        CheckpointError: The content is not an algorithm's state.
    """
    try:
        contents = json.loads((folder / STATE).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        trees = {}
        for part, content in contents.items():
            name = f"{part}.safetensors"
            trees[part] = unflatten_state(content, _tensors(folder, name) if name in manifest.files else {})
        state = trees.pop("state")
        learner = state["learner_group"]["learner"]
        learner.update({name: trees[part] for name, part in _PARTS.items() if part in trees})
        if state["training_iteration"] != manifest.update:
            raise StateTreeError("its update differs from the manifest's")
    except (*DAMAGED, StateTreeError, KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder} is damaged: {STATE} is not a valid state ({first_line(error)}).") from error
    return state


def _tensors(folder: Path, name: str, *, keep: bool = True) -> dict[str, torch.Tensor]:
    tensors = {}
    try:
        with safe_open(folder / name, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  not a dictionary
                tensor = file.get_tensor(key)
                part = f"{folder} is not a good checkpoint: its {name.removesuffix('.safetensors')}"
                refuse_not_finite(part, {key: tensor})
                if keep:
                    # A copy: lazily loaded tensors would read the file after it was replaced.
                    tensors[key] = tensor.clone()
    except NonFiniteError as error:
        raise CheckpointError(str(error)) from error
    except (*DAMAGED, SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{folder} is damaged: {name} cannot be read ({first_line(error)}).") from error
    return tensors


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_constant(name: str) -> Any:
    raise StateTreeError(f"{name} is not valid JSON")
