"""Recognition of model folders: saved models, adapters, run folders, checkpoints and formats of other tools."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ADAPTERS = "adapter_config.json"
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.*",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
    "tekken.json",
)


def describe_other_folder(place: Path) -> str:
    """Describe a folder that is not a saved model, and say what to name instead; a clause for an error message."""
    if (place / "config.yaml").is_file() and ((place / "metrics.jsonl").is_file() or (place / "policy").is_dir()):
        return f"is a run folder. {_of_run(place)}"
    ours = all((place / name).is_file() for name in ("manifest.json", "state.json"))
    if ours or (place / "rllib_checkpoint.json").is_file() or any_file(place, ("algorithm_state.*", "learner_group")):
        run = place.absolute().parent
        return (
            "is a training checkpoint, which only its own run can resume: sdar-gym train --resume "
            f"{run}. {_of_run(run)}"
        )
    steps = [path for path in place.glob("checkpoint-*") if is_model(path)]
    if steps:
        newest = max(steps, key=lambda path: int((re.findall(r"\d+", path.name) or ["0"])[-1]))
        return f"holds checkpoints of a trainer and no model itself; name one of them, such as {newest}."
    other = other_format(place)
    if other:
        return other
    inner = [path for pattern in ("*", "*/*") for path in sorted(place.glob(pattern)) if is_model(path)]
    if inner:
        return f"is a folder without config.json: not a saved model; did you mean {inner[0]}?"
    if any_file(place, (*WEIGHTS, "*.safetensors", "*.bin", "*.pt", "*.pth")):
        return (
            "holds weights without config.json; copy config.json, generation_config.json and the tokenizer of the "
            "model that they were trained from beside them."
        )
    if any_file(place, TOKENIZERS):
        return "holds a tokenizer only: without config.json and weights it is not a saved model."
    return "is a folder without config.json: not a saved model."


def other_format(place: Path) -> str:
    """What to do with weights in a known unsupported format; empty if there are none."""
    if any_file(place, ("*.gguf",)):
        return (
            "holds a GGUF file, which is packed for inference; use the model that it was made from, or convert it: "
            "load it with transformers' from_pretrained(folder, gguf_file=...), and save weights, config and tokenizer."
        )
    if any_file(place, ("zero_to_fp32.py", "global_step*", "*.distcp", "pytorch_model_fsdp*", "*_model_states.pt")):
        return (
            "holds a sharded checkpoint of DeepSpeed or FSDP; merge it into one model first (python zero_to_fp32.py, "
            "or accelerate merge-weights), and put config.json and tokenizer beside it."
        )
    if any_file(place, ("params.json", "consolidated*")):
        return "holds a model in its authors' own format; use the version for transformers, which has a config.json."
    return ""


def _of_run(run: Path) -> str:
    policy = run / "policy"
    if is_model(policy):
        return f"Its trained policy is {policy}."
    return "It has no trained policy yet: policy/ is written at the end of the run."


def is_model(folder: Path) -> bool:
    """Whether a folder holds a saved model or adapters."""
    return (folder / "config.json").is_file() or (folder / ADAPTERS).is_file()


def any_file(folder: Path, patterns: Iterable[str]) -> bool:
    """Whether a folder holds a file that matches one of the patterns."""
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one if the file is missing or damaged, which its own loader reports."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
