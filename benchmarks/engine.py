"""Tokens per second of the `transformers` engine against `transformers.generate`, in one run, alternately.

    python benchmarks/engine.py --json benchmarks/results/engine.json
    python benchmarks/engine.py --device cuda --dtype bfloat16 --model-config qwen2.5-1.5b

Workloads: conversations (a prompt of 400 tokens, 10 turns of 20 sampled and 20 observed tokens, 16 rows), and single
turns (20 tokens of prompt, 64 sampled) of 16 and 64 rows. Both sides sample at temperature 1, return log-probabilities,
and have no end token, so that they do the same number of tokens. `generate` takes a whole batch a turn, as a loop over
it does: it reads the conversation anew each time. On the CPU, seconds are those of the process on one thread; on a GPU,
of the clock. Weights are random: they change what is sampled, not what it costs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from learner import clock, wait
from machine import machine, machine_line
from random_model import SHAPES, random_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from sdar_gym.policy.sizing import default_batch_tokens, default_cache_tokens
from sdar_gym.rollout.engines import GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.transformers_engine import TransformersEngine

POSITIONS = 32_768
PROMPT, TURNS, ANSWER, OBSERVED, ROWS = 400, 10, 20, 20, 16
SINGLE_PROMPT, SINGLE_ANSWER, SINGLE_ROWS = 20, 64, (16, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument(
        "--model-config", default="6m", choices=list(SHAPES), help="Shape of a model of random weights."
    )
    parser.add_argument("--model", type=Path, help="Folder of a saved model instead.")
    parser.add_argument("--repeats", type=int, default=3, help="Pairs of runs; their order alternates.")
    parser.add_argument("--turns", type=int, default=TURNS, help="Turns of a conversation.")
    parser.add_argument("--rows", type=int, nargs="+", default=SINGLE_ROWS, help="Rows of the single turns.")
    parser.add_argument("--conversation-rows", type=int, default=ROWS)
    parser.add_argument("--json", type=Path, help="Where the result is added, by model, precision and device.")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    model = _model(options)
    name = options.model.name if options.model else options.model_config
    workloads = {f"conversations_{options.conversation_rows}": _conversations(options.conversation_rows, options.turns)}
    workloads |= {f"single_{rows}": _single(rows) for rows in options.rows}
    where = machine("torch", "transformers")
    if options.device != "cpu":
        where["gpu"] = torch.cuda.get_device_name()
    result = {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": options.dtype,
        "device": options.device,
        "seconds": "wall clock" if options.device != "cpu" else "CPU of the process, one thread",
        "machine": where,
        "workloads": {},
    }
    print(f"{name}, {result['parameters'] / 1e6:.1f}M parameters, {options.dtype}, {options.device}")
    print(machine_line(where))
    for key, workload in workloads.items():
        result["workloads"][key] = measured = _compare(model, workload, options)
        print(
            f"{key}: {measured['engine']['median']:.0f} against {measured['generate']['median']:.0f} tokens/s, ratio "
            f"{measured['ratio_median']:.2f} ({min(measured['ratios']):.2f} to {max(measured['ratios']):.2f})"
        )
    where["load_average_after"] = machine()["load_average"]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(options.json.read_text(encoding="utf-8")) if options.json.is_file() else {}
        known[f"{name} {options.dtype} {options.device}"] = result
        options.json.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def _model(options: argparse.Namespace) -> PreTrainedModel:
    dtype = getattr(torch, options.dtype)
    if options.model:
        loaded: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype)
    else:
        loaded = random_model(SHAPES[options.model_config], POSITIONS, options.device).to(dtype)
    return loaded.to(options.device).eval()


class _Workload:
    """Prompts, and what is observed after each response."""

    def __init__(self, prompts: list[list[int]], observed: list[list[list[int]]], answer: int):
        self.prompts, self.observed, self.answer = prompts, observed, answer
        self.tokens = len(prompts) * (len(observed) + 1) * answer


def _conversations(rows: int, turns: int) -> _Workload:
    return _Workload(_tokens(0, rows, PROMPT), [_tokens(1 + turn, rows, OBSERVED) for turn in range(turns - 1)], ANSWER)


def _single(rows: int) -> _Workload:
    return _Workload(_tokens(0, rows, SINGLE_PROMPT), [], SINGLE_ANSWER)


def _tokens(seed: int, rows: int, count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(10, 4000, (rows, count), generator=generator).tolist()


def _compare(model: PreTrainedModel, workload: _Workload, options: argparse.Namespace) -> dict[str, Any]:
    """Tokens per second of both, and their ratio in each pair of runs, one directly after the other."""
    engine = TransformersEngine(
        model,
        stop_ids=(),
        pad_id=0,
        max_batch_tokens=default_batch_tokens(model),
        max_cache_tokens=default_cache_tokens(model),
    )
    sides: dict[str, Callable[[], None]] = {
        "engine": lambda: _by_engine(engine, workload),
        "generate": lambda: _by_generate(model, workload, options.device),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    # A run of each first: kernels are loaded, memory is allocated. On a GPU each new shape costs time the first time.
    short = _Workload([ids[:20] for ids in workload.prompts], [], 4) if options.device == "cpu" else workload
    _by_engine(engine, short)
    _by_generate(model, short, options.device)
    for repeat in range(options.repeats):
        for name in list(sides)[:: 1 if repeat % 2 == 0 else -1]:
            started = _clock(options.device)
            sides[name]()
            speeds[name].append(workload.tokens / (_clock(options.device) - started))
    engine.close()
    ratios = [ours / theirs for ours, theirs in zip(speeds["engine"], speeds["generate"], strict=True)]
    return {
        "tokens": workload.tokens,
        **{
            name: {"median": round(median(each), 1), "tokens_per_second": [round(value, 1) for value in each]}
            for name, each in speeds.items()
        },
        "ratio_median": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def _by_engine(engine: TransformersEngine, workload: _Workload) -> None:
    requests = [GenerationRequest(ids, row, f"{row}") for row, ids in enumerate(workload.prompts)]
    asked, turns, sampled = list(requests), [0] * len(requests), 0

    def then(row: int, result: GenerationResult) -> GenerationRequest | None:
        nonlocal sampled
        sampled += len(result.token_ids)
        turn, turns[row] = turns[row], turns[row] + 1
        if turn == len(workload.observed):
            return None
        ids = [*asked[row].prompt_ids, *result.token_ids, *workload.observed[turn][row]]
        asked[row] = GenerationRequest(ids, 1000 * turn + row, f"{row}")
        return asked[row]

    engine.converse(requests, SamplingParams(workload.answer), then)
    assert sampled == workload.tokens


@torch.inference_mode()
def _by_generate(model: Any, workload: _Workload, device: str) -> None:
    sequences = torch.tensor(workload.prompts, device=device)
    for turn in range(len(workload.observed) + 1):
        result = model.generate(
            sequences,
            attention_mask=torch.ones_like(sequences),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=None,
            pad_token_id=0,
            min_new_tokens=workload.answer,
            max_new_tokens=workload.answer,
            return_dict_in_generate=True,
            output_logits=True,
        )
        answer = result.sequences[:, -workload.answer :]
        for place, logits in enumerate(result.logits):
            logits.float().log_softmax(dim=-1).gather(1, answer[:, place, None])
        sequences = result.sequences
        if turn < len(workload.observed):
            sequences = torch.cat([sequences, torch.tensor(workload.observed[turn], device=device)], dim=1)
    # What a loop over environments would do with it.
    sequences.tolist()


def _clock(device: str) -> float:
    wait(device)
    return clock(device)


if __name__ == "__main__":
    main()
