"""Counts what a forward pass keeps for the backward pass, by torch's own accounting, beside the plan's formula.

    python benchmarks/saved_activations.py [--models 10m 50m] [--json OUT]

Random-weight models of Qwen2.5's architecture on the CPU, 256 tokens, no gradient checkpointing: the storages that
autograd saves, each once, weights and their copies left out. The count is exact and does not depend on the machine's
load. With --json the counts are written into OUT under `activations`, beside what `benchmarks/memory.py` wrote there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from random_model import SHAPES, random_model

# No width of these models, so that activations are not taken for weights by their shape.
TOKENS = 256
WAYS = ("autocast", "half weights", "LoRA")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=("6m", "10m", "50m"), default=["10m", "50m"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    counted = {model: {way: _counted(model, way) for way in WAYS} for model in options.models}
    if options.json:
        content = json.loads(options.json.read_text(encoding="utf-8")) if options.json.is_file() else {}
        content["activations"] = counted
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _counted(model: str, way: str) -> dict[str, float]:
    """Bytes a token that are saved, and that the formula says."""
    import torch

    from sdar_gym.policy.lora import Adapters
    from sdar_gym.policy.sizing import activation_bytes, shape_of

    torch.set_num_threads(1)
    made: Any = random_model(SHAPES[model], positions=TOKENS)
    if way != "autocast":
        made = torch.nn.Module.to(made, dtype=torch.bfloat16)
    shape = shape_of(made)
    if way == "LoRA":
        Adapters(made, r=16, alpha=32.0)
    made.train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in made.parameters()}
    sizes = {tuple(each.shape) for each in made.parameters()}
    sizes |= {tuple(reversed(each)) for each in sizes}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # Autocast's copies of weights have their shapes.
        if storage.data_ptr() not in weights and tuple(tensor.shape) not in sizes:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(10, 400, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=way == "autocast"),
    ):
        made.model(input_ids=ids)
    found = sum(saved.values()) / TOKENS
    said = activation_bytes(shape, 2, recomputed=False)
    print(f"{model:5} {way:12} saved {found:11,.0f} bytes a token, formula {said:11,.0f}, {said / found - 1:+.0%}")
    return {"saved": round(found, 1), "formula": said, "error": round(said / found - 1, 4)}


if __name__ == "__main__":
    main()
