"""Robustness test of run folders: damage a copy in some 140 ways, resume each, and count those refused in one message.

    python scripts/robustness/damaged_states.py                     # trains two short runs first
    python scripts/robustness/damaged_states.py RUN OTHER_RUN       # of the same configuration with another seed

Exit status 1 if a damaged folder was accepted, or raised anything but a `ValueError` with a one-line message.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from sdar_gym.runs import checkpoint as checkpoints
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.resume import plan_resume, resumed_run

SETTINGS = (
    "training.iterations=2",
    "training.tasks_per_iteration=2",
    "training.group_size=2",
    "env_config.max_steps=4",
    "evaluation.tasks=4",
    "evaluation.teacher_tasks=2",
    "evaluation.interval=1",
    "checkpoint_interval=1",
    "training.objective.teacher.weights=ema",
    "training.objective.teacher.rate=0.3",
)
Damage = Callable[[Path], object]


def damages(run: Path, other: Path) -> Iterator[tuple[str, Damage]]:
    """All kinds of damage by name; each is applied to the path of a copy."""
    kept = sorted(path.relative_to(run) for path in (run / "checkpoint").iterdir())
    for name in [*kept, *map(Path, ("config.yaml", "panel.json", "versions.json", "metrics.jsonl"))]:
        yield f"{name}: removed", lambda place, name=name: (place / name).unlink()
        yield f"{name}: empty", lambda place, name=name: (place / name).write_bytes(b"")
        yield f"{name}: cut in half", lambda place, name=name: _cut(place / name)
        yield f"{name}: another encoding", lambda place, name=name: (place / name).write_bytes("ä[".encode("utf-16"))
        yield f"{name}: 100,000 brackets", lambda place, name=name: (place / name).write_text("[" * 100_000)
        yield f"{name}: a folder", lambda place, name=name: _folder(place / name)
    for name in kept:
        for where in (0.1, 0.5, 0.9):
            yield f"{name}: a byte changed at {where:.0%}", lambda place, name=name, at=where: _flip(place / name, at)
        yield f"{name}: a byte more", lambda place, name=name: _append(place / name, b"\0")
        yield f"{name}: another run's", lambda place, name=name: _copy(other / name, place / name)
        yield (
            f"{name}: the previous checkpoint's",
            lambda place, name=name: _copy(place / "previous_checkpoint" / name.name, place / name),
        )
    yield "checkpoint: another run's", lambda place: _copy(other / "checkpoint", place / "checkpoint")
    yield (
        "checkpoint: both removed",
        lambda place: [shutil.rmtree(place / name) for name in ("checkpoint", "previous_checkpoint")],
    )
    yield "checkpoint: empty folder", lambda place: _folder(place / "checkpoint")
    yield "checkpoint: of the older format", lambda place: _older(place / "checkpoint")
    yield "panel.json: another valid panel", _other_panel
    for name, value in {"text": "1", "list": [1], "number": 5, "null": None}.items():
        text = json.dumps(value) + "\n"
        for file in ("panel.json", "versions.json", "metrics.jsonl", "config.yaml", "checkpoint/manifest.json"):
            yield f"{file}: a {name}", lambda place, file=file, text=text: (place / file).write_text(text)
    for line in ({}, {"update": "1"}, {"update": -1}, {"update": None}, {"update": 1, "evaluation": 5}):
        text = json.dumps(line) + "\n"
        yield f"metrics.jsonl: {text.strip()}", lambda place, text=text: (place / "metrics.jsonl").write_text(text)
    yield "metrics.jsonl: no evaluation", lambda place: _lines(place, lambda record: "evaluation" not in record)
    yield "metrics.jsonl: an update missing", lambda place: _lines(place, lambda record: record["update"] != 1)
    changes: dict[str, dict[str, Any]] = {
        "a newer format": {"format": 3},
        "no format": {"format": None},
        "another kind": {"kind": "x"},
        "update as text": {"update": "2"},
        "update below zero": {"update": -1},
        "update of another time": {"update": 1},
        "no files": {"files": {}},
        "files as a list": {"files": []},
        "a file outside": {"files": {"../config.yaml": {"bytes": 1, "sha256": ""}}},
        "other settings": {"settings": {"name": 5}},
        "settings as text": {"settings": "x"},
        "another panel": {"panel": "0" * 12},
        "another run": {"run": "0" * 16},
    }
    for name, change in changes.items():
        yield f"manifest.json, hashes updated: {name}", lambda place, change=change: _sign(place, **change)
    for part in [name.stem for name in kept if name.suffix == ".safetensors"]:
        for value in (float("nan"), float("inf")):
            yield f"{part}, hashes updated: {value}", lambda place, part=part, value=value: _spoil(place, part, value)
        yield f"{part}, hashes updated: no safetensors", lambda place, part=part: _garbage(place, f"{part}.safetensors")
    states: dict[str, Any] = {"list": [], "empty": {}, "text": "x", "state only": {"state": {}}}
    for name, content in states.items():
        yield f"state.json, hashes updated: {name}", lambda place, content=content: _state(place, content)
    yield "state.json, hashes updated: tensors missing", lambda place: _state(place, _edited(place, "$tensor", "gone"))
    yield "state.json, hashes updated: unknown tag", lambda place: _state(place, _edited(place, "$pickle", "gASV"))


def attempt(place: Path) -> str | None:
    """Resume a run as `train --resume` does before it starts Ray; returns the message if it is refused, else None.

    Raises:
        Exception: Any error that is not a refusal.
    """
    try:
        resumed_run(place)
        folder = RunFolder(place)
        folder.recover()
        resumption = plan_resume(folder, resumed_run(place)[0].run, verify=True)
        checkpoints.read_state(resumption.checkpoint, resumption.manifest)
    except ValueError as error:
        return str(error)
    return None


def count(run: Path, other: Path) -> tuple[int, list[str]]:
    """The number of kinds of damage, and those that were not refused in one message that names the folder."""
    wrong, number = [], 0
    with tempfile.TemporaryDirectory(prefix="sdar-gym-damaged-") as scratch:
        for number, (name, damage) in enumerate(damages(run, other), start=1):
            place = Path(scratch) / str(number) / run.name
            shutil.copytree(run, place)
            damage(place)
            try:
                message = attempt(place)
            except Exception as error:
                wrong.append(f"{name}: {type(error).__name__}: {error}")
                continue
            if message is None:
                wrong.append(f"{name}: accepted")
            elif "\n" in message or len(message) > 2_000 or str(place) not in message:
                wrong.append(f"{name}: {message[:300]!r}")
            shutil.rmtree(place)
    return number, wrong


def _cut(path: Path) -> None:
    content = path.read_bytes()
    # An incomplete last line, as after a crash, is accepted; here whole lines are missing.
    half = content[: len(content) // 2]
    path.write_bytes(half if path.suffix != ".jsonl" else half[: half.rfind(b"\n") + 1][:-2])


def _flip(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 0x41
    path.write_bytes(content)


def _append(path: Path, more: bytes) -> None:
    path.write_bytes(path.read_bytes() + more)


def _folder(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.mkdir()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def _older(place: Path) -> None:
    _folder(place)
    (place / "rllib_checkpoint.json").write_text("{}")
    (place / "algorithm_state.pkl").write_bytes(b"\x80\x05.")


def _other_panel(place: Path) -> None:
    from sdar_gym.envs.tasks import TaskPanel, load_panel

    panel = load_panel(place / "panel.json")
    TaskPanel(panel.name, panel.env_id, panel.task_ids[:-1]).save(place / "panel.json")


def _lines(place: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    path = place / "metrics.jsonl"
    lines = [line for line in path.read_text().splitlines() if keep(json.loads(line))]
    path.write_text("".join(f"{line}\n" for line in lines))


def _sign(place: Path, **changes: Any) -> None:
    """Update the hashes in the manifest, as an attacker would."""
    folder = place / "checkpoint"
    content = json.loads((folder / "manifest.json").read_text())
    for name in content["files"]:
        path = folder / name
        content["files"][name] = {"bytes": path.stat().st_size, "sha256": checkpoints._sha256(path)}
    content |= changes
    del content["sha256"]
    (folder / "manifest.json").write_text(json.dumps({**content, "sha256": checkpoints._digest(content)}))


def _spoil(place: Path, part: str, value: float) -> None:
    path = place / "checkpoint" / f"{part}.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    torch.flatten(next(tensor for tensor in tensors.values() if tensor.numel() > 1))[-1] = value
    save_file(tensors, path)
    _sign(place)


def _garbage(place: Path, name: str) -> None:
    (place / "checkpoint" / name).write_bytes(b"\xff" * 64)
    _sign(place)


def _state(place: Path, content: Any) -> None:
    (place / "checkpoint" / "state.json").write_text(json.dumps(content))
    _sign(place)


def _edited(place: Path, tag: str, value: str) -> Any:
    content = json.loads((place / "checkpoint" / "state.json").read_text())
    content["weights"] = {"default_policy": {tag: value}}
    return content


def main() -> None:
    """Train two runs unless they are given, then test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="a run folder and another one; else two are trained")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="sdar-gym-runs-") as scratch:
        for seed in range(2 - len(runs)):
            arguments = ["train", "quickstart", *SETTINGS, f"seed={seed}", f"runs_dir={scratch}"]
            subprocess.run([sys.executable, "-m", "sdar_gym", *arguments], check=True, stdout=subprocess.DEVNULL)
        runs += sorted(Path(scratch).iterdir())
        message = attempt(runs[0])
        if message is not None:
            raise SystemExit(f"The undamaged run cannot be resumed: {message}")
        number, wrong = count(runs[0], runs[1])
    for line in wrong:
        print(line)
    print(f"{number - len(wrong)} of {number} damaged run folders refused in one message")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
