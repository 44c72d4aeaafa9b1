"""Model sources: resolves a policy's name to a built-in policy, a saved model, adapters with their base, or the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from sdar_gym.paths import is_uri, without_password
from sdar_gym.policy.errors import PolicyLoadError
from sdar_gym.policy.folder_formats import (
    ADAPTERS,
    TOKENIZERS,
    WEIGHTS,
    any_file,
    describe_other_folder,
    other_format,
    read_json,
)
from sdar_gym.text import shortened, terminal_safe

BUILTIN_PREFIX = "builtin:"
_LFS = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class PolicySource:
    """The files that a policy's name stands for.

    Attributes:
        model: Folder or hub name of the weights; for adapters, of their base.
        tokenizer: Folder or hub name of the tokenizer.
        adapters: Folder of adapters to be merged into the weights, or None.
    """

    model: str
    tokenizer: str
    adapters: Path | None = None


def policy_path(name: str) -> str:
    """Folder or hub name that `transformers` loads for a policy's name; for adapters, that of their base.

    Args:
        name: `builtin:<name>`, a folder, or a hub name such as `Qwen/Qwen2.5-0.5B-Instruct`.

    Raises:
        PolicyLoadError: There is no such built-in policy or folder, or the folder is not a saved model.
    """
    return policy_source(name).model


def policy_source(name: str) -> PolicySource:
    """Resolve a policy's name to its files, without contacting the hub.

    Args:
        name: As in `policy_path`, or a folder with adapters saved by `peft`.

    Raises:
        PolicyLoadError: There is no such built-in policy or folder, or the folder is not a saved model.
    """
    if name.startswith(BUILTIN_PREFIX):
        folder = _builtin(name)
        return PolicySource(folder, folder)
    if not name.strip() or "\x00" in name:
        raise PolicyLoadError(f"A policy's name must not be empty, got {shortened(name)}.")
    if is_uri(name):
        raise PolicyLoadError(
            f"A policy must be a folder, a built-in policy or a hub name, got the address "
            f"{shortened(without_password(name))}; download it, and name the folder."
        )
    try:
        place = Path(name).expanduser()
        is_folder, is_file = place.is_dir(), place.is_file()
    except (OSError, RuntimeError) as error:  # A name that is too long; the home folder of an unknown user.
        raise PolicyLoadError(f"No such folder: {shortened(name)}.") from error
    if is_folder:
        return _folder(place)
    if is_file:
        raise PolicyLoadError(f"{place} is a file; name the folder that holds it, its config.json and its tokenizer.")
    # A hub name has at most one slash; anything else is meant as a path.
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise PolicyLoadError(f"No such folder: {place}.")
    return PolicySource(name, name)


def refuse_incomplete_files(model: str) -> None:
    """Refuse weights with missing shards or files that are Git LFS pointers.

    Args:
        model: Folder or hub name; only folders are checked.

    Raises:
        PolicyLoadError: Names the file.
    """
    folder = Path(model)
    if not folder.is_dir():
        return
    other = "" if any_file(folder, WEIGHTS) else other_format(folder)
    if other:
        raise PolicyLoadError(f"{folder} {other}")
    for pattern in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        shards = read_json(folder / pattern).get("weight_map", {})
        absent = sorted({str(shard) for shard in shards.values() if not (folder / str(shard)).is_file()})
        if absent:
            raise PolicyLoadError(
                f"{folder} is incomplete: {len(absent)} of the files of {pattern} are missing, {absent[0]} among them. "
                "Copy or download them again."
            )
    for path in sorted(path for pattern in (*WEIGHTS, "tokenizer.*") for path in folder.glob(pattern)):
        with path.open("rb") as stream:
            if stream.read(len(_LFS)) == _LFS:
                raise PolicyLoadError(
                    f"{path} is a Git LFS pointer instead of the file itself; run `git lfs pull` in {folder}."
                )


def refuse_missing_tokenizer(name: str, tokenizer: str) -> None:
    """Refuse a folder without a tokenizer; `transformers` would guess one.

    Raises:
        PolicyLoadError: Says what to do.
    """
    folder = Path(tokenizer)
    if not folder.is_dir() or any_file(folder, TOKENIZERS):
        return
    if any_file(folder.absolute().parent, TOKENIZERS[:3]):
        remedy = f"Copy it from {folder.absolute().parent}, which has one: tokenizer*, chat_template*, vocab*, merges*"
    else:
        remedy = "Save the tokenizer of the model that it was trained from beside it, with its save_pretrained(folder)"
    raise PolicyLoadError(f"The tokenizer of {name!r} is missing: {folder} holds a model only. {remedy}.")


def refuse_quantized(name: str, settings: Any) -> None:
    """Refuse quantized weights.

    Args:
        name: The model's name, for the message.
        settings: The quantization settings in its config.json, or None.

    Raises:
        PolicyLoadError: The weights are quantized.
    """
    if not settings:
        return
    method = settings.get("quant_method", "") if isinstance(settings, Mapping) else settings.__class__.__name__
    raise PolicyLoadError(
        f"{name!r} is quantized{f' ({terminal_safe(str(method))})' if method else ''}, and quantized weights cannot "
        "be trained or updated; use the model that it was made from, or save it dequantized."
    )


def _builtin(name: str) -> str:
    folder = Path(str(files("sdar_gym.policy").joinpath("checkpoints")))
    wanted = name.removeprefix(BUILTIN_PREFIX)
    known = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if wanted not in known:
        choices = ", ".join(BUILTIN_PREFIX + one for one in known) or "none"
        raise PolicyLoadError(f"No built-in policy {terminal_safe(name)!r}; choose one of {choices}.")
    return str(folder / wanted)


def _folder(place: Path) -> PolicySource:
    whole = (place / "config.json").is_file()
    if (place / ADAPTERS).is_file():
        if whole and any_file(place, WEIGHTS):
            raise PolicyLoadError(
                f"{place} holds both a whole model and adapters ({ADAPTERS}), so it is unclear which one to load; "
                "move one of them to a separate folder, with the tokenizer."
            )
        return _adapted(place)
    if not whole:
        raise PolicyLoadError(f"{place} {describe_other_folder(place)}")
    config = read_json(place / "config.json")
    refuse_quantized(str(place), config.get("quantization_config") or config.get("quantization"))
    return PolicySource(str(place), str(place))


def _adapted(place: Path) -> PolicySource:
    config = read_json(place / ADAPTERS)
    base = config.get("base_model_name_or_path")
    kind = str(config.get("peft_type", "")).upper()
    if kind != "LORA":
        raise PolicyLoadError(
            f"{place} holds adapters of the kind {shortened(kind or 'unknown')}; only LoRA adapters are merged. Merge "
            "them yourself, if that is possible, and name the folder with the whole model."
        )
    if not isinstance(base, str) or not base.strip():
        raise PolicyLoadError(
            f"{place} holds LoRA adapters, and its {ADAPTERS} does not name the base model. {_name_the_base()}"
        )
    near = [
        path for path in (place / base, place.absolute().parent / base) if not Path(base).is_dir() and path.is_dir()
    ]
    try:
        source = policy_source(str(near[0]) if near else base)
    except PolicyLoadError as error:
        raise PolicyLoadError(
            f"{place} holds LoRA adapters of {shortened(base)}, which cannot be loaded. {error} {_name_the_base()}"
        ) from error
    if source.adapters is not None:
        raise PolicyLoadError(f"{place} holds adapters of {base}, which holds adapters as well; merge those first.")
    return PolicySource(source.model, str(place) if any_file(place, TOKENIZERS) else source.tokenizer, place)


def _name_the_base() -> str:
    return f"Set base_model_name_or_path in {ADAPTERS} to the folder or hub name of their base."
