"""Cost of ALFWorld runs as `sdar-gym plan` computes it: window against conversation, 1.5B, 3B and 7B, on an H100.

    python benchmarks/plan.py TOKENIZER [--games FOLDER]

TOKENIZER is a folder with Qwen2's tokenizer and chat template (any Qwen2 or Qwen2.5 model has them); the sizes of the
models are in `random_model.py`, and no weights are needed. Writes `benchmarks/results/plan.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from machine import machine
from random_model import SHAPES

from sdar_gym.configs import load_config
from sdar_gym.plan.contexts import play_contexts
from sdar_gym.plan.gpus import Efficiency, gpu_of
from sdar_gym.plan.plan import Plan, make_plan

MODELS = {
    "Qwen2.5-1.5B-Instruct": SHAPES["qwen2.5-1.5b"],
    "Qwen2.5-3B-Instruct": SHAPES["qwen2.5-3b"],
    "Qwen2.5-7B-Instruct": SHAPES["qwen2.5-7b"],
}
RESULTS = Path(__file__).parent / "results" / "plan.json"
# Those of one update.
TASKS = 16
# A user's first update of Qwen2.5-3B on ALFWorld with the released code, on four A100 of 80 GB, in seconds.
# Source: github.com/ZJU-REAL/SDAR issue 51.
REPORTED = {
    "tokens": 3_830_959,
    "gpus": 4,
    "rollout": 424.6,
    "student scores": 179.3,
    "teacher scores": 260.4,
    "reference scores": 175.4,
    "gradient": 773.6,
    "all": 1816.4,
}


def model_folder(name: str, tokenizer: Path, place: Path) -> Path:
    """A folder with a model's configuration and tokenizer."""
    shape = MODELS[name]
    folder = place / name
    shutil.copytree(tokenizer, folder)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": 32_768,
        "bos_token_id": 151_643,
        "eos_token_id": 151_645,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def implied_mfu(plan: Plan) -> dict[str, float]:
    """Shares of the peak that the reported passes reached, by the plan's operations for as many tokens."""
    cost = plan.contexts["window"].cost["random"]
    gradient = cost.flops["gradient"] * REPORTED["tokens"] / cost.tokens["gradient"]
    # A gradient is two forward passes, one of them recomputed, and a backward pass of twice the work. The released code
    # reads every prompt whole, so that a pass of scores is one of them.
    passes = {"student scores": gradient / 4, "reference scores": gradient / 4, "gradient": gradient}
    return {name: flops / (REPORTED[name] * REPORTED["gpus"] * plan.gpu.flops) for name, flops in passes.items()}


def main() -> None:
    """Plans all runs and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--games", default="generated")
    arguments = parser.parse_args()
    games = "generated" if arguments.games == "generated" else "FOLDER"
    result: dict[str, Any] = {
        "command": f"python benchmarks/plan.py TOKENIZER --games {games}",
        "machine": machine(),
        "plans": {},
        "reported": REPORTED,
    }
    with tempfile.TemporaryDirectory() as place:
        played = None
        for name in MODELS:
            changes = [
                f"policy.model={model_folder(name, arguments.tokenizer, Path(place))}",
                f"env_config.games={arguments.games}",
            ]
            if "7B" in name:
                run = load_config("paper/alfworld-qwen2.5-3b", [*changes, "policy.lora={r: 64}"])
                result["plans"][f"{name}, LoRA"] = make_plan(run, gpu_of("H100"), played=played).to_json()
            if "1.5B" in name:
                result["alfworld"] = make_plan(load_config("alfworld", changes), gpu_of("H100"), tasks=TASKS).to_json()
            # The published settings for all three; the conversation beside them lists what changed.
            run = load_config("paper/alfworld-qwen2.5-3b", changes)
            # The models have one tokenizer.
            played = played or play_contexts(run, tasks=TASKS)
            result["plans"][name] = make_plan(run, gpu_of("H100"), played=played).to_json()
            if "3B" in name:
                plan = make_plan(run, gpu_of("A100"), played=played)
                shares = implied_mfu(plan)
                slow = make_plan(run, gpu_of("A100"), Efficiency(mfu=shares["gradient"]), played=played)
                result["a100"] = {
                    "implied_mfu": shares,
                    "assumed": plan.to_json(),
                    "at_the_implied_mfu": slow.to_json(),
                }
    a100 = (result["a100"][key] for key in ("assumed", "at_the_implied_mfu"))
    for each in [*result["plans"].values(), result["alfworld"], *a100]:
        each["env_config"].pop("games", None)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, each in result["plans"].items():
        for context, numbers in each["contexts"].items():
            hours = [f"{numbers[policy]['run_gpu_hours']:.0f}" for policy in ("expert", "random")]
            print(f"{name} {context}: {' to '.join(hours)} GPU-hours on an H100")
    print("implied shares of the peak:", result["a100"]["implied_mfu"])


if __name__ == "__main__":
    main()
