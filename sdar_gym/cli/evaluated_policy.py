"""Evaluated policy: what POLICY of `sdar-gym eval` names, its configuration, and what tells its weights from others."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sdar_gym.configs.load import PUBLISHED
from sdar_gym.configs.schema import ConfigError
from sdar_gym.paths import is_uri, local_path, without_password
from sdar_gym.text import shortened

_BLOCK, _BLOCKS = 1 << 20, 64


@dataclass(frozen=True, slots=True)
class EvaluatedPolicy:
    """A policy to evaluate.

    Attributes:
        name: As it is recorded: the whole path of a folder, else the name.
        model: Folder or name that is loaded; None for a checkpoint, which is exported first.
        run: The run folder it comes from, or None.
        short: Its name in that of the evaluation's folder.
    """

    name: str
    model: str | None
    run: Path | None
    short: str

    @property
    def default_config(self) -> str:
        """Name or file of the configuration that fits the policy."""
        if self.run is not None:
            return str(self.run / "config.yaml")
        # The quick start's prompt does not explain the task: only the tiny policy was trained on it.
        return "quickstart" if self.name.startswith("builtin:") else PUBLISHED

    @contextmanager
    def loaded(self) -> Iterator[str]:
        """Context manager: folder or name of the model, of a checkpoint in a folder for the time of the block.

        Raises:
            ValueError: The checkpoint is damaged.
        """
        if self.model is not None:
            yield self.model
            return
        from sdar_gym.runs.export import export_checkpoint

        with tempfile.TemporaryDirectory(prefix="sdar-gym-checkpoint-") as folder:
            export_checkpoint(Path(self.name), Path(folder) / "policy")
            yield str(Path(folder) / "policy")

    def weights(self, model: str) -> str | None:
        """A hash that other weights under the same name do not have; None for a model of the hub.

        It covers names and sizes of the files and 64 blocks of each: training changes all weights.

        Args:
            model: From `loaded`.
        """
        from sdar_gym.policy.model_source import policy_source

        source = policy_source(model)
        folders = [Path(source.model), *([source.adapters] if source.adapters else [])]
        files = sorted(
            path
            for folder in folders
            for path in folder.glob("*")
            if path.suffix in (".safetensors", ".bin") and path.is_file()
        )
        if not files:
            return None
        digest = hashlib.sha256()
        for path in files:
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                for number in range(_BLOCKS):
                    file.seek(max(0, size - _BLOCK) * number // (_BLOCKS - 1))
                    digest.update(file.read(_BLOCK))
                    if size <= _BLOCK:
                        break
        return digest.hexdigest()[:16]


def evaluated_policy(name: str) -> EvaluatedPolicy:
    """The policy that the command line names.

    Args:
        name: A run folder, a checkpoint of one, a saved policy, `builtin:tiny`, or a hub name.

    Raises:
        ConfigError: It is an address, or a run folder that has no policy yet.
    """
    if is_uri(name) and not name.startswith("file:"):
        raise ConfigError(
            f"{shortened(without_password(name))} is an address; a policy is a local folder, builtin:tiny or a "
            "hub model's name. Copy it first; a server is named by --endpoint."
        )
    folder = local_path("policy", name)
    if _is_file(folder / "config.yaml"):
        if not (folder / "policy").is_dir():
            last = f", or evaluate {folder / 'checkpoint'}" if _is_file(folder / "checkpoint" / "manifest.json") else ""
            raise ConfigError(
                f"{folder} holds no exported policy: the run has not finished. Continue it: sdar-gym train "
                f"--resume {folder}{last}."
            )
        return EvaluatedPolicy(str(folder), str(folder / "policy"), folder, folder.name)
    run = folder.parent
    if _is_file(folder / "manifest.json") and _is_file(run / "config.yaml"):
        return EvaluatedPolicy(str(folder), None, run, f"{run.name}-{folder.name}")
    if _is_file(folder / "config.json") or _is_file(folder / "adapter_config.json"):
        # The exported policy of a run is called `policy`, which names nothing.
        return EvaluatedPolicy(str(folder), str(folder), None, run.name if folder.name == "policy" else folder.name)
    return EvaluatedPolicy(name, name, None, name.removeprefix("builtin:").rstrip("/").rsplit("/", 1)[-1])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A name too long for the file system, or a folder that may not be read.
        return False
