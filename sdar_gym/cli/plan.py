"""The command `plan`: what a run costs before it starts, as tables or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from sdar_gym.cli.terminal import Terminal
from sdar_gym.cli.training import quiet
from sdar_gym.configs import load_config
from sdar_gym.plan.contexts import Played
from sdar_gym.plan.gpus import Efficiency, gpu_of
from sdar_gym.plan.memory import USABLE
from sdar_gym.plan.memory_table import NUMBERS_OF_GPUS, SCHEMES
from sdar_gym.plan.plan import Cost, Plan, make_plan

_GB = 1e9


def plan_command(
    config: str,
    changes: Sequence[str],
    gpu: str,
    tasks: int,
    response_tokens: int,
    mfu: float,
    bandwidth: float,
    as_json: bool,
) -> None:
    """Plans a run and prints it."""
    run, chosen, efficiency = load_config(config, changes), gpu_of(gpu), Efficiency(mfu, bandwidth)
    quiet()
    console = Terminal()
    with Terminal(stderr=True).status("reading the model's configuration") as status:
        plan = make_plan(run, chosen, efficiency, response_tokens=response_tokens, tasks=tasks, progress=status.update)
    if as_json:
        console.tell(json.dumps(plan.to_json(), indent=1))
        return
    _print_heading(console, plan)
    console.print(cost_table(plan))
    console.print()
    console.print(memory_table(plan))
    console.print(_activation_note(plan))
    console.print()
    console.print(scheme_table(plan))
    console.print(_scheme_note(plan))
    for note in _remarks(plan):
        console.print(note, style="yellow")


def cost_table(plan: Plan) -> Table:
    """Tokens, operations and time of an update and of the run: a column for each context and policy."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("")
    columns: list[tuple[Played, Cost]] = []
    for name, context in plan.contexts.items():
        for policy, cost in context.cost.items():
            shown.add_column(f"{name},\n{policy} play", justify="right")
            columns.append((context.played[policy], cost))

    def row(label: str, value: Callable[[Played, Cost], str], style: str | None = None) -> None:
        shown.add_row(label, *(value(played, cost) for played, cost in columns), style=style)

    row("turns an episode", lambda played, _: f"{played.turns:.1f}")
    row("success", lambda played, _: f"{played.success:.0%}")
    row("tokens read a turn", lambda played, _: f"{played.prompt:.0f}")
    row("tokens sampled a turn", lambda played, _: f"{played.response:.0f}")
    row("longest sequence", lambda played, _: f"{played.longest_sequence:,}")
    if any(played.context_full for played, _ in columns):
        row("conversation full", lambda played, _: f"{played.context_full:.0%}", "yellow")
    if any(played.forks for played, _ in columns):
        row("new sequences by the template", lambda played, _: f"{played.forks:.1f}", "yellow")
    parts = [part for part in columns[0][1].tokens if any(cost.tokens[part] for _, cost in columns)]
    shown.add_row("tokens of an update", style="bold")
    for part in parts:
        row(f"  {part}", lambda _, cost, part=part: _short(cost.tokens[part]))
    row("operations", lambda _, cost: _short(sum(cost.flops.values())), "bold")
    shown.add_row("seconds of an update", style="bold")
    for part in parts:
        row(f"  {part}", lambda _, cost, part=part: _seconds(cost.seconds[part]))
    row("  all", lambda _, cost: _seconds(cost.update_seconds))
    row("seconds of an evaluation", lambda _, cost: _seconds(cost.evaluation_seconds))
    row("episodes decoded at once", lambda _, cost: f"{cost.decode.concurrent:.0f}")
    row("GPU-hours of an update", lambda _, cost: f"{cost.update_seconds / 3600:.3f}", "bold")
    row("GPU-hours of the run", lambda _, cost: f"{cost.run_seconds / 3600:.1f}", "bold")
    return shown


def memory_table(plan: Plan) -> Table:
    """Memory by part, on one GPU that samples and learns."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column(f"memory of one {plan.gpu.name}")
    shown.add_column("GB", justify="right")
    for name, value in plan.memory.gpu.items():
        shown.add_row(name, f"{value / _GB:.1f}")
    fits = plan.memory.fits
    verdict = f"of {plan.gpu.memory / _GB:.0f}" + ("" if fits else ": does not fit")
    peak = f"{plan.memory.total / _GB:.1f} {verdict}"
    shown.add_row("at the peak of an update", peak, style="bold" if fits else "red")
    beside = "while the learner waits" if fits else "on a GPU with the engine alone, as planned above"
    shown.add_row(f"left for keys and values {beside}", f"{plan.memory.kv_room / _GB:.1f}")
    for name, value in plan.memory.main.items():
        shown.add_row(f"{name}, in main memory", f"{value / _GB:.1f}")
    return shown


def scheme_table(plan: Plan) -> Table:
    """Memory by model size, way of training and number of GPUs."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("GB a GPU")
    shown.add_column("training")
    for gpus in NUMBERS_OF_GPUS:
        shown.add_column(f"{gpus} GPU{'s' if gpus > 1 else ''}", justify="right")
    shown.add_column("activations\nkept", justify="right")
    shown.add_column("engine\nawake", justify="right")
    before = ""
    for row in plan.memory_rows:
        cells = [
            Text(f"{value / _GB:.1f}") if row.fits(gpus, plan.gpu.memory) else Text(f"{value / _GB:.1f}!", style="red")
            for gpus, value in row.recomputed.items()
        ]
        extra = row.kept[1] - row.recomputed[1]
        name = "" if row.model == before else row.model
        shown.add_row(name, row.scheme, *cells, f"+{extra / _GB:.1f}", f"+{row.engine / _GB:.1f}")
        before = row.model
    return shown


def _scheme_note(plan: Plan) -> str:
    ways = "; ".join(f"{way}: {settings}" for way, settings in SCHEMES.items())
    return (
        f"At the peak of an update in bfloat16, {plan.table_tokens:,} tokens a micro-batch, gradient checkpointing, "
        f"the engine asleep or on other GPUs; ! does not fit {USABLE:.0%} of an {plan.gpu.name}. {ways}. A frozen "
        "teacher or reference is in main memory. docs/cost.md explains the terms."
    )


def _short(number: float) -> str:
    """A number with three digits and the letter of its power of ten."""
    for letter, unit in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= unit:
            return f"{number / unit:.3g} {letter}" if number < 999.5 * unit else f"{number / unit:,.0f} {letter}"
    return f"{number:.0f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def _print_heading(console: Terminal, plan: Plan) -> None:
    run, efficiency = plan.run, plan.efficiency
    shown = plan.contexts["conversation"].show_actions
    console.tell(
        f"{run.name}: {run.method} on {run.env}, {run.policy.model} ({_short(plan.size.shape.parameters)} "
        f"parameters), {run.training.tasks_per_iteration} x {run.training.group_size} episodes an update, "
        f"{run.training.iterations} updates, {plan.evaluations} evaluations"
    )
    console.tell(
        f"one {plan.gpu.name}: {plan.gpu.flops / 1e12:.0f} TFLOP/s, of which {efficiency.mfu:.0%} are assumed (--mfu); "
        f"{plan.gpu.bandwidth / 1e12:.2f} TB/s, of which {efficiency.bandwidth:.0%} in decoding (--bandwidth)"
    )
    length = (
        "responses as measured"
        if plan.response_tokens is None
        else f"responses of {plan.response_tokens} tokens assumed (--response-tokens)"
    )
    console.tell(
        f"prompts measured by playing; {length}; a conversation lists actions: {shown}. Random play is about what an "
        "untrained policy costs at most, the expert's what a trained one costs at least. This configuration has "
        f"rollout.context={run.rollout.context}."
    )
    if "expert" not in plan.contexts["window"].cost:
        console.tell(f"{run.env} has no expert.")
    console.print()


def _remarks(plan: Plan) -> list[str]:
    """What a reader should know before believing the numbers."""
    remarks = []
    if not plan.memory.fits:
        remarks.append(
            f"One {plan.gpu.name} is too small to sample and learn, and each learner holds all weights and gradients. "
            "The times are those of engine and learner on large enough GPUs of their own. policy.half_weights with "
            "several learners, or policy.lora, need far less memory: see the table."
        )
    played = plan.contexts["conversation"].played.values()
    if any(each.context_full for each in played):
        remarks.append(
            f"Up to {max(each.context_full for each in played):.0%} of the conversations ended early, because they had "
            "no room for another turn, and cost less for it: see rollout.max_context_tokens, "
            "rollout.max_response_tokens and rollout.show_actions."
        )
    if any(each.forks for each in played):
        remarks.append(
            "The chat template rewrites past responses, so that conversations begin new sequences and read the past "
            "again; rollout.rewritten_history=keep avoids that."
        )
    return remarks


def _activation_note(plan: Plan) -> str:
    parts = [
        f"{tokens:,} tokens {kept / _GB:.1f} / {recomputed / _GB:.1f}"
        for tokens, kept, recomputed in plan.memory.activations
    ]
    chosen = "on" if plan.memory.gradient_checkpointing else "off"
    return (
        f"activations of a micro-batch in GB, kept / recomputed: {', '.join(parts)}. Chosen: "
        f"{plan.memory.micro_batch_tokens:,} tokens, gradient checkpointing {chosen}. Keys and values: "
        f"{plan.memory.kv_token / 1e3:.1f} kB a token."
    )
