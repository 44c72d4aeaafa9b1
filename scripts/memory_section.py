"""The part of docs/cost.md on several GPUs, from `benchmarks/results/memory.json`: table, terms, measured peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Json = Mapping[str, Any]


def section(memory: Json) -> tuple[str, ...]:
    """The paragraphs and tables.

    Args:
        memory: What `benchmarks/memory.py` wrote.
    """
    errors = memory["errors"]
    rows: Sequence[Json] = memory["table"]
    eight = next(row for row in rows if row["model"] == "7B" and row["scheme"] == "sharded, half")["recomputed"]["8"]
    return (
        "## Several GPUs",
        "Each learner holds all weights and gradients; what AdamW keeps is shared out over the learners by whole "
        f"tensors ([learner](learner.md#precision-and-several-learners)). {eight / 1e9:.0f} GB a GPU train 7 billion "
        "weights on eight. `sdar-gym plan` prints this table with the configured model; GB on each GPU at the peak of "
        f"an update, bfloat16, {memory['table_tokens']:,} tokens a micro-batch, activations recomputed, the engine "
        "asleep or on other GPUs, a frozen teacher or reference in main memory:",
        _table(rows),
        "*Activations kept* is what they take more without gradient checkpointing, *engine awake* the weights of an "
        "engine beside the learner that does not sleep; its keys and values come on top. `sharded` is the default "
        "with several learners, `half` is `policy.half_weights`, LoRA of rank 16.",
        "| term | bytes a weight | with `policy.half_weights` | shared out |\n| --- | ---: | ---: | --- |\n"
        "| weights | 4 | 2 | no |\n| gradients | 4 | 2 | no |\n| master weights | – | 4 | over the learners |\n"
        "| AdamW, two moments | 8 | 8 | over the learners |\n"
        "| copies in bfloat16 for matrix products, in passes | 2 | – | no |\n"
        "| **one learner** | **18** | **16** | |\n| **n learners** | **10 + 8/n** | **4 + 12/n** | |\n"
        "| arrays of the optimizer's step, of the largest tensor only | 8 | 12 | no |",
        "A share is the n-th part of the weights, or the largest tensor if that is more: the embedding of a 0.5B "
        "model is a quarter of it. A step comes after the passes and uses the memory that activations had. Adapters "
        "take 2 bytes a frozen weight and 16 for each of their own. Activations of a token are 11 hidden and 8 "
        "feed-forward widths in each layer if kept, and one layer's and every layer's input if recomputed, 2 bytes "
        "each; logits are three arrays of a chunk of 64 MiB. Weights, gradients and optimizer as in ZeRO "
        "([Rajbhandari et al. 2020](https://arxiv.org/abs/1910.02054), stage 1), master weights as in "
        "[Micikevicius et al. 2018](https://arxiv.org/abs/1710.03740). The formulas are in "
        "[`policy/learner_memory.py`](../sdar_gym/policy/learner_memory.py), and "
        "[a test](../tests/plan/test_memory_table.py) works them out by hand. Not counted: CUDA's own memory and "
        "graphs, buffers of NCCL, fragmentation; a tenth of a GPU is left for them.",
        "**Measured on a CPU.** `python benchmarks/memory.py` trains random models of Qwen2.5's architecture by the "
        "learner itself, in processes of their own, two with gloo; "
        "one micro-batch an update, resident memory over what the process had before, from the second update on, the "
        f"learner with the most. The formulas were {errors['lowest']:+.0%} to {errors['highest']:+.0%} off, "
        f"{errors['median']:+.0%} in the middle: too low by up to {_deficit(memory['cases']):,.0f} MB, which is much "
        "for the small models, where logits and temporary arrays are a good part, LoRA most; for the largest "
        f"model they were {_of_largest(memory['cases'])} off, LoRA left out. By a run with a quarter of the response "
        "tokens, logits took about five arrays on the CPU, not three. No GPU was measured.",
        _measured(memory["cases"]),
        "Activations alone, as autograd saves them without gradient checkpointing "
        "(`python benchmarks/saved_activations.py`, torch's own count, exact):",
        _activations(memory["activations"]),
        "**Not built.** *8-bit moments* ([Dettmers et al. 2022](https://arxiv.org/abs/2110.02861), bitsandbytes) "
        "would take 2 bytes a weight instead of 8 (a byte each, and a scale for each block): 10 bytes a weight on one "
        "GPU instead of 16, but 4.75 on eight instead of 5.5, since the state is shared out already. Its kernels are "
        "for GPUs, its state has a layout of its own, and a step would no longer be AdamW's. *Optimizer state in main "
        "memory* would leave 4 bytes a weight on the GPU, 30 GB for 7B, for 12 bytes a weight of main memory and 4 "
        "over the bus in each step. It is the next thing to build where one GPU must do; it was left out because it "
        "could not be tried on a GPU. *Sharded weights* (FSDP) are for models whose weights and gradients, 4 bytes "
        "a weight, do not fit: above 14B on 80 GB.",
    )


def _table(rows: Sequence[Json]) -> str:
    lines = [
        "| | training | 1 GPU | 2 GPUs | 8 GPUs | activations kept | engine awake |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    before = ""
    for row in rows:
        numbers = [f"{value / 1e9:.1f}" for value in row["recomputed"].values()]
        extra = (row["kept"]["1"] - row["recomputed"]["1"]) / 1e9
        name = "" if row["model"] == before else row["model"]
        lines.append(
            f"| {name} | {row['scheme']} | {' | '.join(numbers)} | +{extra:.1f} | +{row['engine'] / 1e9:.1f} |"
        )
        before = row["model"]
    return "\n".join(lines)


def _deficit(models: Mapping[str, Mapping[str, Json]]) -> float:
    """By how many MB the formulas are too low at most."""
    return max(
        median(case["peak_mb"]) - case["formula_peak_mb"] for cases in models.values() for case in cases.values()
    )


def _of_largest(models: Mapping[str, Mapping[str, Json]]) -> str:
    """Smallest and largest error of the model with the most weights, without LoRA."""
    cases = max(models.values(), key=lambda each: max(case["parameters"] for case in each.values()))
    errors = [case["error"] for name, case in cases.items() if name != "LoRA"]
    return f"{min(errors):+.0%} to {max(errors):+.0%}"


def _measured(models: Mapping[str, Mapping[str, Json]]) -> str:
    lines = [
        "| weights | training | tokens | measured, MB (spread) | formula, MB | error |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for cases in models.values():
        for name, case in cases.items():
            peaks, weights = case["peak_mb"], case["parameters"] / 1e6
            found = f"{median(peaks):,.0f} ({min(peaks):,.0f} to {max(peaks):,.0f})"
            lines.append(
                f"| {weights:.0f} M | {name} | {case['micro_batch_tokens']:,} | {found} | "
                f"{case['formula_peak_mb']:,.0f} | {case['error']:+.0%} |"
            )
    return "\n".join(lines)


def _activations(models: Mapping[str, Mapping[str, Json]]) -> str:
    lines = ["| model | training | saved, bytes a token | formula | error |", "| --- | --- | ---: | ---: | ---: |"]
    for model, ways in models.items():
        for way, each in ways.items():
            lines.append(f"| {model} | {way} | {each['saved']:,.0f} | {each['formula']:,.0f} | {each['error']:+.0%} |")
    return "\n".join(lines)
