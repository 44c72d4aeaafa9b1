"""Run record: settings with absolute paths, package versions and the command, without passwords."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.paths import is_uri, local_path, without_password

_PACKAGES = ("sdar-gym", "ray", "torch", "transformers", "gymnasium", "numpy", "bm25s", "pyserini")
# Arguments of environments that are paths; others count as paths if they look like one and exist.
_PATH_ARGUMENTS = ("games", "data", "questions", "corpus")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"\]},]+")


def resolved(run: RunConfig) -> RunConfig:
    """The configuration with absolute paths, so that it means the same in another folder, job or process.

    Raises:
        PathError: A path setting holds an address, or is not a valid path.
    """
    training = replace(
        run.training,
        objective=_teacher_path(run.training.objective),
        objective_by_method={
            name: _teacher_path(objective) for name, objective in run.training.objective_by_method.items()
        },
    )
    panel = run.evaluation.panel
    return replace(
        run,
        runs_dir=str(local_path("runs_dir", run.runs_dir)),
        policy=replace(run.policy, model=_model_path("policy.model", run.policy.model)),
        skills=replace(run.skills, library=_existing_path("skills.library", run.skills.library)),
        evaluation=replace(run.evaluation, panel=None if panel is None else str(local_path("evaluation.panel", panel))),
        env_config={key: _argument(key, value) for key, value in run.env_config.items()},
        training=training,
    )


def without_secrets(value: Any) -> Any:
    """The value without users, passwords and queries in addresses, in nested values too."""
    if isinstance(value, str):
        return _ADDRESS.sub(lambda found: without_password(found.group()), value) if "://" in value else value
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    return value


def settings_of(run: RunConfig) -> dict[str, Any]:
    """The configuration as plain data for YAML and JSON, without secrets."""
    content = without_secrets(run.to_dict())
    # A plug-in's argument may be of another type, such as a date.
    return {key: _plain_value(value) for key, value in content.items()}


def flat_settings(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names, as on the command line."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def left_out(run: RunConfig) -> list[str]:
    """Dotted names of the settings that `settings_of` shortens because they hold a secret."""
    settings = {key: _tuples_to_lists(value) for key, value in flat_settings(run.to_dict()).items()}
    return sorted(key for key, value in settings.items() if value != without_secrets(value))


def command_line() -> list[str]:
    """The command of this process, without secrets."""
    return [Path(sys.argv[0]).name, *(without_secrets(argument) for argument in sys.argv[1:])]


def versions() -> dict[str, Any]:
    """Versions of Python and packages, the git revision, the command, and the machine."""
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
        "command": command_line(),
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


def _model_path(setting: str, value: str) -> str:
    if is_uri(value):
        return str(local_path(setting, value))
    return _existing_path(setting, value) or value


def _teacher_path(objective: dict[str, Any]) -> dict[str, Any]:
    teacher = objective.get("teacher")
    if not isinstance(teacher, dict) or not isinstance(teacher.get("model"), str):
        return objective
    model = _model_path("training.objective.teacher.model", teacher["model"])
    return {**objective, "teacher": {**teacher, "model": model}}


def _existing_path(setting: str, value: str | None) -> str | None:
    """The absolute path if it exists, else the value, which may be a name."""
    if value is None or not value or is_uri(value):
        return value
    place = local_path(setting, value)
    return str(place) if place.exists() else value


def _argument(key: str, value: Any) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, list | tuple):
        return [_argument(key, inner) for inner in value]
    if isinstance(value, dict):
        return {inner: _argument(key, each) for inner, each in value.items()}
    if not isinstance(value, str) or not value:
        return value
    # "generated" and "synthetic" are names, even if such a folder exists.
    if key in _PATH_ARGUMENTS and value not in ("generated", "synthetic"):
        if is_uri(value):
            return str(local_path(f"env_config.{key}", value))
        return _existing_path(f"env_config.{key}", value)
    looks_like_one = value.startswith("~") or any(mark and mark in value for mark in (os.sep, os.altsep))
    return _existing_path(f"env_config.{key}", value) if looks_like_one and "\x00" not in value else value


def _tuples_to_lists(value: Any) -> Any:
    """The value with lists instead of tuples, as `without_secrets` returns it."""
    return [_tuples_to_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain_value(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
