"""The run folder: resolved configuration, versions, panel, metrics, episodes, checkpoint, exported policy, curve."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.rollout.episode import Episode

_PACKAGES = ("sdar-gym", "ray", "torch", "transformers", "gymnasium", "numpy", "bm25s", "pyserini")


class RunFolder:
    """`<runs_dir>/<name>-<algorithm>[-n]/`.

    Holds config.yaml, versions.json, panel.json, metrics.jsonl, episodes/*.jsonl, checkpoint/, policy/, summary.json
    and curve.png.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """The newest complete checkpoint."""
        newest, old = self.path / "checkpoint", self.path / "checkpoint.old"
        # The old one is left alone only where the process died between the two renames of `replace_checkpoint`.
        return old if old.exists() and not newest.exists() else newest

    @property
    def policy(self) -> Path:
        """The exported policy, in the form that `transformers` and vLLM load."""
        return self.path / "policy"

    def write_start(self, config: RunConfig, panel: TaskPanel) -> None:
        """Write what a run is, before it begins."""
        text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
        (self.path / "config.yaml").write_text(text, encoding="utf-8")
        (self.path / "versions.json").write_text(json.dumps(_versions(), indent=1) + "\n", encoding="utf-8")
        panel.save(self.path / "panel.json")

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(record)) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`; a last one that was cut off is left out."""
        text = (self.path / "metrics.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def forget_after(self, update: int) -> None:
        """Drop the metrics of later updates: the run goes on from there and makes them again."""
        kept = [record for record in self.records() if record["update"] <= update]
        fresh = self.path / "metrics.jsonl.new"
        fresh.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        os.replace(fresh, self.path / "metrics.jsonl")

    def write_episodes(self, name: str, episodes: Iterable[Episode]) -> None:
        """Write `episodes/<name>.jsonl`."""
        folder = self.path / "episodes"
        folder.mkdir(exist_ok=True)
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for episode in episodes:
                file.write(json.dumps(episode.to_json(), ensure_ascii=False) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`."""
        (self.path / "summary.json").write_text(json.dumps(_plain(summary), indent=1) + "\n", encoding="utf-8")

    def replace_checkpoint(self, fresh: Path) -> None:
        """Put a finished checkpoint in place of the old one; at no moment is there none."""
        newest, old = self.path / "checkpoint", self.path / "checkpoint.old"
        if newest.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(newest, old)
        os.replace(fresh, newest)
        shutil.rmtree(old, ignore_errors=True)


def new_run_folder(config: RunConfig) -> RunFolder:
    """Make a folder that no run has used.

    Raises:
        ValueError: It cannot be made.
    """
    first = Path(config.runs_dir).expanduser() / f"{config.name}-{config.algorithm}"
    path, number = first, 1
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
                path = first.with_name(f"{first.name}-{number}")
            else:
                return RunFolder(path)
    except OSError as error:
        raise ValueError(f"Cannot make the run folder {path}: {error}. Set runs_dir to a writable place.") from error


def _versions() -> dict[str, Any]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {
        "python": platform.python_version(),
        "packages": found,
        "git": _git_revision(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "machine": {"system": platform.platform(), "cpus": os.cpu_count()},
    }


def _git_revision() -> str | None:
    here = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return revision.stdout.strip() or None


def _plain(value: Any) -> Any:
    """Numbers as JSON knows them: numpy's become Python's, and what is no number becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
