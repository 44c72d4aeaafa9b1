"""Atomic saving of a policy in the `transformers` format, which vLLM loads too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sdar_gym.files import flush_folder, flush_tree, fresh_sibling
from sdar_gym.paths import first_line
from sdar_gym.policy.non_finite import refuse_not_finite

# A folder without it is not a saved model, for this gym and for `transformers`.
_CONFIG = "config.json"


def save_model(model: Any, tokenizer: Any, folder: Path, texts: Mapping[str, str] | None = None) -> None:
    """Save a model and its tokenizer.

    Files are written beside the folder and flushed first, so a killed process leaves the new policy, the previous one,
    or a folder without `config.json`, which is not loaded as a model. Other files in the folder stay.

    Args:
        model: A `transformers` model.
        tokenizer: Its tokenizer.
        folder: Target folder; created with its parents.
        texts: Text files to write beside them, by name.

    Raises:
        NonFiniteError: Some weights are not finite; nothing was written.
    """
    refuse_not_finite("The policy was not saved: its weights", model.state_dict())
    folder = Path(os.path.abspath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with fresh_sibling(folder) as fresh:
        try:
            model.save_pretrained(fresh)
        except SafetensorError as error:
            # safetensors raises its own error for a full disk.
            raise OSError(f"the weights could not be written: {first_line(error)}") from error
        tokenizer.save_pretrained(fresh)
        for name, text in (texts or {}).items():
            (fresh / name).write_text(text, encoding="utf-8")
        flush_tree(fresh)
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            with suppress(FileNotFoundError):
                folder.rmdir()
            os.replace(fresh, folder)
        else:
            _replace_files(fresh, folder)
    flush_folder(folder.parent)


def _replace_files(fresh: Path, folder: Path) -> None:
    with suppress(FileNotFoundError):
        (folder / _CONFIG).unlink()
    flush_folder(folder)
    names = sorted(entry.name for entry in fresh.iterdir())
    for entry in list(folder.iterdir()):
        # Old shards would be loaded with, or instead of, the new weights.
        weights = entry.name.endswith((".safetensors", ".safetensors.index.json"))
        if weights and entry.name not in names and entry.is_file():
            entry.unlink()
    for name in sorted(names, key=lambda name: name == _CONFIG):
        os.replace(fresh / name, folder / name)
    flush_folder(folder)
