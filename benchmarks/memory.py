"""Measures the peak memory of a learner's update beside what the formulas of `sdar-gym plan` say.

    python benchmarks/memory.py [--models 10m 50m 150m] [--tokens 1024] [--repeats 3] [--json OUT]

Models and cases that OUT has already are kept, unless they are measured again.

Random-weight models of Qwen2.5's architecture, on the CPU. Every case is trained by the learner itself, in a process
of its own, or two with gloo where the optimizer is shared out: one micro-batch of the given tokens, `grpo` without a
reference, bfloat16. Measured are the peaks of resident memory over what the process had before the model was loaded,
in the passes and in the optimizer's step, from the second update on (the first makes the optimizer's state). The
formulas count tensors; resident memory also has what the allocator keeps and fragments, and the libraries' own buffers.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import socket
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from learner import peak_mb, reset_peak, standing_mb
from machine import machine, machine_line
from random_model import SHAPES, random_model

HALF_WEIGHTS = {"half_weights": True}
# Settings of the policy, learners, and whether activations are recomputed.
CASES: dict[str, dict[str, Any]] = {
    "one learner": {"policy": {}, "learners": 1, "recomputed": True},
    "one learner, activations kept": {"policy": {}, "learners": 1, "recomputed": False},
    "one learner, half weights": {"policy": HALF_WEIGHTS, "learners": 1, "recomputed": True},
    "two learners": {"policy": {}, "learners": 2, "recomputed": True, "sharded": False},
    "two learners, sharded": {"policy": {}, "learners": 2, "recomputed": True},
    "two learners, sharded, half weights": {"policy": HALF_WEIGHTS, "learners": 2, "recomputed": True},
    "LoRA": {"policy": {"lora": 16}, "learners": 1, "recomputed": True},
}
# Nearly all tokens are of responses, whose logits are computed.
ROW_TOKENS, RESPONSE = 256, 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["10m", "50m", "150m"])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--tokens", type=int, default=1024, help="of a micro-batch, a multiple of 256")
    parser.add_argument("--repeats", type=int, default=3, help="measured updates of each case")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import torch

    # Processes are forked from this one, so that libraries are imported once; they have no threads then.
    torch.set_num_threads(1)
    _imported()
    where = machine("torch", "transformers", "ray")
    print(machine_line(where))
    results: dict[str, dict[str, Any]] = {}
    if options.json and options.json.is_file():
        results = json.loads(options.json.read_text(encoding="utf-8"))["cases"]
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            _save(model, folder)
            for case in options.cases:
                results.setdefault(model, {})[case] = _measured(options, model, folder, case)
                if options.json:
                    _write(options.json, where, results)
    errors = _errors(results)
    print("error of the formulas: " + ", ".join(f"{name} {error:+.0%}" for name, error in errors.items()))


def _write(path: Path, where: dict[str, Any], results: dict[str, dict[str, Any]]) -> None:
    from sdar_gym.plan.memory_table import MICRO_BATCH_TOKENS, memory_rows

    # `benchmarks/saved_activations.py` writes into the same file.
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content = before | {
        "command": "python benchmarks/memory.py",
        "machine": where,
        "device": "cpu",
        "dtype": "bfloat16",
        "cases": results,
        "table_tokens": MICRO_BATCH_TOKENS,
        "table": [row.to_json() for row in memory_rows()],
        "errors": _errors(results),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _errors(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    errors = [case["error"] for cases in results.values() for case in cases.values()]
    return {"median": median(errors), "lowest": min(errors), "highest": max(errors)}


def _save(model: str, folder: str) -> None:
    from sdar_gym.policy.load import load_tokenizer

    random_model(SHAPES[model], positions=1024).save_pretrained(folder)
    load_tokenizer("builtin:tiny").save_pretrained(folder)


def _measured(options: argparse.Namespace, model: str, folder: str, case: str) -> dict[str, Any]:
    """Peaks of the learner with the most memory, and what the formulas say."""
    count = CASES[case]["learners"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe(duplex=False) for _ in range(count)]
    processes = [
        fork.Process(target=_part, args=(options, folder, case, rank, port, pipe[1])) for rank, pipe in enumerate(pipes)
    ]
    for process, (_, sender) in zip(processes, pipes, strict=True):
        process.start()
        sender.close()
    try:
        ranks = [receiver.recv() for receiver, _ in pipes]
    except EOFError as error:
        raise SystemExit(f"{model}, {case} failed.") from error
    for process in processes:
        process.join()
    most = max(ranks, key=lambda each: median(each["peak_mb"]))
    said = max(most["formula_mb"].values())
    found = median(most["peak_mb"])
    error = said / found - 1
    print(
        f"{model:5} {case:36} measured {found:7,.0f} MB ({min(most['peak_mb']):,.0f} to {max(most['peak_mb']):,.0f}), "
        f"formula {said:7,.0f} MB, {error:+.0%}",
        flush=True,
    )
    return {
        **most,
        "micro_batch_tokens": options.tokens,
        "formula_peak_mb": said,
        "error": round(error, 4),
        "load_average": os.getloadavg()[0],
    }


def _imported() -> None:
    import peft  # noqa: F401

    import sdar_gym.algorithms.sdar
    import sdar_gym.plan.memory_table  # noqa: F401


def _part(options: argparse.Namespace, folder: str, case: str, rank: int, port: int, sender: Any) -> None:
    import torch

    from sdar_gym.plan.memory_table import peaks_of
    from sdar_gym.plan.model_size import model_size
    from sdar_gym.policy.learner_memory import HALF, Scheme

    chosen = CASES[case]
    learners, sharded = chosen["learners"], chosen.get("sharded", True)
    if learners > 1:
        address = f"tcp://127.0.0.1:{port}"
        torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=learners)
    # What libraries set up in their first use is there before the memory is looked at.
    _run(_learner("builtin:tiny", options, {**chosen, "policy": {}, "learners": 1}), options.tokens, 0)
    size = model_size(folder)
    _trim()
    before = standing_mb("cpu")
    learner = _learner(folder, options, chosen)
    peaks: dict[str, list[float]] = {"passes_mb": [], "step_mb": []}
    step = learner._optimizer.step

    def watched(*arguments: Any, **settings: Any) -> Any:
        peaks["passes_mb"].append(peak_mb("cpu") - before)
        _trim()
        reset_peak("cpu")
        result = step(*arguments, **settings)
        peaks["step_mb"].append(peak_mb("cpu") - before)
        return result

    learner._optimizer.step = watched
    for number in range(options.repeats + 1):
        _trim()
        reset_peak("cpu")
        _run(learner, options.tokens, number)
    lora = chosen["policy"].get("lora")
    scheme = Scheme(
        width=HALF,
        half_weights="half_weights" in chosen["policy"],
        adapters=None if lora is None else lora * size.linear_ends,
        learners=learners,
        sharded=sharded,
    )
    formula = peaks_of(size, scheme, options.tokens, recomputed=chosen["recomputed"])
    counted = {name: [round(value, 1) for value in values[1:]] for name, values in peaks.items()}
    sender.send(
        {
            "parameters": size.shape.parameters,
            **counted,
            "peak_mb": [max(pair) for pair in zip(counted["passes_mb"], counted["step_mb"], strict=True)],
            "formula_mb": {"passes": round(formula[0] / 1e6, 1), "step": round(formula[1] / 1e6, 1)},
        }
    )


def _learner(model: str, options: argparse.Namespace, chosen: dict[str, Any]) -> Any:
    """The learner of a run, without the rest of it."""
    import gymnasium as gym
    from ray.rllib.core import DEFAULT_MODULE_ID

    from sdar_gym.algorithms.sdar import SDARConfig
    from sdar_gym.algorithms.sdar.learner import SDARLearner
    from sdar_gym.configs.sections import LoraSettings

    policy = dict(chosen["policy"])
    if "lora" in policy:
        policy["lora"] = LoraSettings(r=policy["lora"])
    config = SDARConfig().environment("sdar/ALFWorld-v0")
    config.training(method="grpo", micro_batch_tokens=options.tokens, objective={"kl_coeff": 0.0, "entropy_coeff": 0.0})
    config.policy(model=model, dtype="bfloat16", gradient_checkpointing=chosen["recomputed"], torch_threads=1, **policy)
    learners = chosen["learners"] if chosen["learners"] > 1 else 0
    config.learners(num_learners=learners, shard_optimizer=chosen.get("sharded"))
    space = gym.spaces.Discrete(1)
    spec = config.get_multi_rl_module_spec(spaces={DEFAULT_MODULE_ID: (space, space)})
    learner = SDARLearner(config=config, module_spec=spec)
    learner.build()
    return learner


def _run(learner: Any, tokens: int, number: int) -> None:
    """An update on one micro-batch."""
    import numpy as np
    from ray.rllib.core import DEFAULT_MODULE_ID
    from ray.rllib.core.learner.training_data import TrainingData
    from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

    rng = np.random.default_rng(number)
    rows = tokens // ROW_TOKENS
    shape = (rows, RESPONSE)
    columns = {
        "input_ids": rng.integers(10, 400, (rows, ROW_TOKENS)),
        "response_position": np.tile(np.arange(ROW_TOKENS - RESPONSE, ROW_TOKENS), (rows, 1)),
        "response_mask": np.ones(shape, dtype=bool),
        "span": np.zeros(shape, dtype=np.int64),
        "old_logp": np.full(shape, -9.0, dtype=np.float32),
        "advantage": rng.standard_normal(shape).astype(np.float32),
        "weight": np.full(shape, 1 / (rows * RESPONSE), dtype=np.float32),
    }
    batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=rows)
    learner.update(
        training_data=TrainingData(batch=batch),
        timesteps={},
        num_epochs=1,
        minibatch_size=rows,
        update_number=number,
    )


def _trim() -> None:
    """Gives memory back to the system that the allocator keeps."""
    gc.collect()
    if sys.platform == "linux" and os.confstr("CS_GNU_LIBC_VERSION"):
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
