"""Writes docs/cost.md, what runs cost with a window and as a conversation, from the numbers of `benchmarks/plan.py`.

    python scripts/cost_page.py [--check]

The page is never edited by hand: its numbers are those of `plan.json` and `memory.json` in `benchmarks/results/`, and a
test compares them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from generated_pages import write_pages
from memory_section import section

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cost.md"
RESULTS = ROOT / "benchmarks" / "results" / "plan.json"
MEMORY = RESULTS.with_name("memory.json")
CONTEXTS = ("window", "conversation")
POLICIES = ("random", "expert")
PARTS = ("prefill", "decode", "student scores", "reference scores", "teacher scores", "gradient")
# What a user's log of the released code calls the same.
REPORTED_PARTS = ("student scores", "teacher scores", "reference scores", "gradient")
REPORTED_GPU_HOURS = 320
Json = Mapping[str, Any]


def page(results: Json, memory: Json | None = None) -> str:
    """The whole page.

    Args:
        results: What `benchmarks/plan.py` wrote.
        memory: What `benchmarks/memory.py` wrote; the committed result by default.
    """
    plans, a100 = results["plans"], results["a100"]
    three = plans["Qwen2.5-3B-Instruct"]
    fitting = {name: plan for name, plan in plans.items() if not _fits(plan["memory"])}
    random = {context: three["contexts"][context]["random"] for context in CONTEXTS}
    fewer = random["window"]["tokens"]["gradient"] / random["conversation"]["tokens"]["gradient"]
    before = {context: f"{cost['decode']['context']:,.0f}" for context, cost in random.items()}
    reported = results["reported"]
    return (
        "\n\n".join(
            (
                "<!-- Made by scripts/cost_page.py from plan.json and memory.json in benchmarks/results. -->",
                "# Cost: what a run takes, before it starts",
                "```bash\n"
                "sdar-gym plan alfworld                                       # tokens, memory, GPU-hours on an H100\n"
                "sdar-gym plan alfworld policy.model=FOLDER --gpu RTX4090     # a model of yours, another GPU\n"
                "sdar-gym plan paper/alfworld-qwen2.5-3b --json               # the published settings, as data\n"
                "```",
                "No weights are loaded and nothing is trained: the run's collector plays its first training tasks with "
                "a random policy and with the environment's expert, with the prompts, skills, chat template and "
                "tokenizer of the run, once with each [context](context.md). Tokens are counted; operations and memory "
                "follow from the model's configuration; seconds follow from a GPU's data sheet and two assumed shares "
                "of it.",
                "Nothing on this page was measured on a GPU. Tokens are counts, memory is computed, and seconds and "
                "GPU-hours stand or fall with the assumed shares.",
                "## Window and conversation",
                f"ALFWorld's real games, SDAR, {three['episodes_per_update']} episodes an update, at most "
                f"{three['env_config']['max_steps']} turns, {three['response_tokens']} tokens a response, "
                f"{three['updates']} updates and {three['evaluations']} evaluations of 128 tasks, on one H100 with "
                f"{three['efficiency']['mfu']:.0%} of the peak operations and {three['efficiency']['bandwidth']:.0%} "
                "of the bandwidth in decoding. The settings are `paper/alfworld-qwen2.5-3b` for all models; the "
                "conversation lists what changed among the actions. Each cell: random play (about what an untrained "
                "policy costs at most) – expert play (about what a trained one costs at least); a run is between.",
                _contexts_table(fitting),
                f"**Long episodes.** If all turns are played, a conversation trains on {fewer:.1f} times fewer tokens, "
                "because each is read once. But a token is sampled behind the whole episode, "
                f"{before['conversation']} tokens on average instead of {before['window']}, and reading their keys and "
                "values costs about what the gradients save: over these models a run takes "
                f"{_ratios(fitting, 'random')} times the window's GPU-hours. **Short episodes**, as a policy that "
                f"succeeds plays them: {_ratios(fitting, 'expert')} times. A conversation pays off as the policy "
                "learns, with short responses, and with memory for keys and values. It also changes what the policy "
                "reads, so its results need not be those of a window; the published ones are a window's.",
                "The configuration that we would run, `alfworld` (Qwen2.5-1.5B-Instruct, conversation, "
                f"{results['alfworld']['evaluations']} evaluations): {_hours(results['alfworld'], 'conversation')} "
                f"GPU-hours on one H100; {_hours(results['alfworld'], 'window')} with a window.",
                "### By pass",
                "Random play, Qwen2.5-3B-Instruct, one update.",
                _passes_table(three),
                "Scores read the beginning that a group's prompts share once, gradients read everything.",
                "## Beside what users report",
                "Users of the released code report for Qwen2.5-3B-Instruct on ALFWorld with 150 updates: 320 hours on "
                "eight A100 ([issue 41](https://github.com/ZJU-REAL/SDAR/issues/41); it does not say whether by the "
                "clock or of all GPUs together, 8 x 40), and a first update of "
                f"{reported['all']:,.0f} seconds on four A100 of 80 GB "
                f"([issue 51](https://github.com/ZJU-REAL/SDAR/issues/51)), that is {_update_hours(reported):.2f} "
                f"GPU-hours, or {150 * _update_hours(reported):.0f} for 150 like it. The second agrees with the first "
                f"if that means {REPORTED_GPU_HOURS} GPU-hours, which we take it to mean.",
                _reported_table(results),
                f"The log counts {reported['tokens'] / 1e6:.2f} million tokens, the plan's random play "
                f"{a100['assumed']['contexts']['window']['random']['tokens']['gradient'] / 1e6:.2f}. From its seconds "
                "and the plan's operations follows the share of the peak that its passes reached: "
                f"{_shares(a100['implied_mfu'])}. The 30 % that a plan assumes are an aim, not what this log shows. "
                "With the log's share for all passes the same run takes "
                f"{_hours(a100['at_the_implied_mfu'], 'window')} A100-hours with a window and "
                f"{_hours(a100['at_the_implied_mfu'], 'conversation')} as a conversation. The released code reads the "
                "beginning of a group's prompts in every row; here scores read it once, which is part of the "
                "difference. The log has one update; its author's offloading and small micro-batches are not planned, "
                "and updates become shorter when more episodes succeed.",
                "## Memory",
                "GB on one H100 of 80 GB that samples and learns, with the micro-batch and the recomputation of "
                "activations that a run would choose there.",
                _memory_table(plans),
                "LoRA here is of rank 64. In `sdar-gym plan`, the times of a model that does not fit are those of "
                "engine and learner on large enough GPUs of their own.",
                *section(memory or json.loads(MEMORY.read_text(encoding="utf-8"))),
                "## What is counted, computed, assumed",
                _basis(),
                "## How the counts are checked",
                "[A test](../tests/algorithms/sdar/test_plan_against_a_run.py) trains one update in each context and "
                "counts what passes through the learner's forward passes. For the episodes of the run, the plan's "
                "tokens equal those of sampler, scores, teacher and gradient exactly. When it is told only the "
                "actions, they differ by less than 5 %, because sampled text can have more tokens than the tokenizer "
                "needs. Before the run, knowing nothing, it has the run between expert and random play; responses "
                "without reasoning that miss the required form took up to a third more. Operations, memory and "
                "decoding steps are checked by [numbers worked out by hand](../tests/plan/test_timing_and_memory.py).",
                "On a GPU, `python benchmarks/context.py --device cuda --model qwen2.5-1.5b --json OUT` plays and "
                "learns updates of GRPO and SDAR, and writes their seconds and peak of the memory beside those "
                "that the plan computes for the same episodes; its `mfu_for_the_plan` is the value of `--mfu` "
                "for that GPU.",
                f"Made by `{results['command']}`, then `python scripts/cost_page.py`.",
            )
        )
        + "\n"
    )


def _contexts_table(plans: Mapping[str, Json]) -> str:
    rows = []
    for model, plan in plans.items():
        for context in CONTEXTS:
            cost = plan["contexts"][context]
            rows.append(
                (
                    f"{model.replace('-Instruct', '')}, {context}",
                    _both(cost, lambda each: f"{each['turns']:.0f}"),
                    _both(cost, lambda each: _millions(each["tokens"]["prefill"])),
                    _both(cost, lambda each: _millions(each["tokens"]["decode"])),
                    _both(cost, lambda each: _millions(each["tokens"]["gradient"])),
                    _both(cost, lambda each: f"{each['update_seconds']:.0f}"),
                    _both(cost, lambda each: _rounded(each["run_gpu_hours"])),
                )
            )
    head = ("", "turns", "M tokens read", "M sampled", "M trained", "seconds an update", "GPU-hours a run")
    return _table(head, rows)


def _passes_table(plan: Json) -> str:
    costs = [plan["contexts"][context]["random"] for context in CONTEXTS]
    rows = [
        (
            part,
            *(_millions(cost["tokens"][part]) for cost in costs),
            *(f"{cost['seconds'][part]:.0f}" for cost in costs),
        )
        for part in PARTS
    ]
    rows.append(("all", "", "", *(f"{cost['update_seconds']:.0f}" for cost in costs)))
    return _table(("pass", *(f"M tokens, {one}" for one in CONTEXTS), *(f"seconds, {one}" for one in CONTEXTS)), rows)


def _reported_table(results: Json) -> str:
    reported, a100 = results["reported"], results["a100"]
    gpus = reported["gpus"]
    plans = [a100["assumed"]["contexts"][context]["random"] for context in CONTEXTS]
    rollout = tuple(f"{plan['seconds']['prefill'] + plan['seconds']['decode']:,.0f}" for plan in plans)
    rows = [("rollout", f"{gpus * reported['rollout']:,.0f}", *rollout)]
    for part in REPORTED_PARTS:
        rows.append((part, f"{gpus * reported[part]:,.0f}", *(f"{plan['seconds'][part]:,.0f}" for plan in plans)))
    rows.append(("all", f"{gpus * reported['all']:,.0f}", *(f"{plan['update_seconds']:,.0f}" for plan in plans)))
    hours = (f"{150 * _update_hours(reported):.0f}", *(f"{150 * plan['update_seconds'] / 3600:.0f}" for plan in plans))
    rows.append(("150 such updates, GPU-hours", *hours))
    head = (f"GPU-seconds of the first update, A100, {plans[0]['turns']:.0f} turns", "reported")
    return _table((*head, *(f"planned, {context}" for context in CONTEXTS)), rows)


def _memory_table(plans: Mapping[str, Json]) -> str:
    parts = list(dict.fromkeys(part for plan in plans.values() for part in plan["memory"]["gpu"]))

    def row(name: str, value: Any) -> tuple[str, ...]:
        return (name, *(value(plan["memory"]) for plan in plans.values()))

    rows = [row(part, lambda memory, part=part: f"{memory['gpu'].get(part, 0) / 1e9:.1f}") for part in parts]
    rows.append(row("at the peak of an update", lambda memory: f"**{memory['total'] / 1e9:.1f}**{_fits(memory)}"))
    rows.append(row("for keys and values while sampling", lambda memory: f"{memory['kv_room'] / 1e9:.1f}"))
    rows.append(row("in main memory", lambda memory: f"{sum(memory['main'].values()) / 1e9:.1f}"))
    return _table(("GB", *(model.replace("-Instruct", "") for model in plans)), rows)


def _basis() -> str:
    rows = (
        (
            "tokens",
            "counted in played episodes; the length of a response that reasons first is assumed (150, "
            "`--response-tokens`)",
        ),
        (
            "operations",
            "two per weight and token, and attention over pairs of tokens; a gradient is a forward pass, one more if "
            "activations are recomputed, and a backward pass of twice the work",
        ),
        ("memory", "weights, moments and activations by the model's configuration, in the sizes that the run chooses"),
        ("seconds of passes", "operations at an assumed 30 % of the peak (`--mfu`)"),
        (
            "seconds of decoding",
            "weights, keys and values at an assumed 60 % of the bandwidth (`--bandwidth`), and 4 ms a step; with the "
            "`transformers` engine 0.9 ms a layer",
        ),
        (
            "left out",
            "the environment's own time, loading, checkpoints, moving weights from learner to engine, padding, several "
            "GPUs talking to each other, prompts that the engine still has from another episode",
        ),
    )
    return _table(("", ""), rows)


def _both(cost: Json, value: Any) -> str:
    random, expert = (value(cost[policy]) for policy in POLICIES)
    return f"{random} – {expert}"


def _hours(plan: Json, context: str) -> str:
    return _both(plan["contexts"][context], lambda each: _rounded(each["run_gpu_hours"]))


def _ratios(plans: Mapping[str, Json], policy: str) -> str:
    """The conversation's GPU-hours as multiples of the window's, smallest to largest."""
    shares = []
    for plan in plans.values():
        window, conversation = (plan["contexts"][context][policy]["run_gpu_hours"] for context in CONTEXTS)
        shares.append(conversation / window)
    return f"{min(shares):.1f} to {max(shares):.1f}"


def _update_hours(reported: Json) -> float:
    return reported["gpus"] * reported["all"] / 3600


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.0%} in {name}" for name, share in shares.items()).replace("%", " %")


def _fits(memory: Json) -> str:
    return "" if memory["total"] <= memory["available"] else ": does not fit"


def _rounded(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.1f}"


def _millions(tokens: float) -> str:
    return f"{tokens / 1e6:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)] if len(head) > 2 else ["---"] * 2, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is out of date."""
    return write_pages(__doc__, {PAGE: page(json.loads(RESULTS.read_text(encoding="utf-8")))}, arguments)


if __name__ == "__main__":
    sys.exit(main())
