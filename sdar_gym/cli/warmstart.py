"""The command `warmstart`: of a chat model on an expert's episodes, and of the tiny policy from scratch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from sdar_gym.cli.path_arguments import check_output_folder
from sdar_gym.cli.progress import progress_bar
from sdar_gym.cli.terminal import Terminal
from sdar_gym.cli.training import quiet, result_table
from sdar_gym.configs import load_config
from sdar_gym.configs.load import PUBLISHED
from sdar_gym.configs.schema import ConfigError

# What cuts an expert's episode, by `Episode.ended`.
_CUT = {
    "prompt_too_long": "a prompt is longer than rollout.max_prompt_tokens",
    "context_full": "the conversation's context is full: see rollout.max_context_tokens",
}


def model_command(
    output: Path | None, model: str | None, config: str | None, changes: Sequence[str], resume: Path | None
) -> None:
    """Fine-tunes a model with a progress bar, and says where it is."""
    if resume is not None:
        given = [*([str(output)] if output else []), *([f"--model {model}"] if model else []), *changes]
        given += [f"--config {config}"] if config else []
        if given:
            raise ConfigError(f"{given[0]} has no effect with --resume: a warm start keeps its settings. Leave it out.")
        quiet()
        from sdar_gym.warmstart.run import resumed_warm_start

        run, folder = resumed_warm_start(resume), resume
    else:
        if output is None:
            raise ConfigError("Name a folder for the policy, or a warm start to continue: --resume FOLDER.")
        check_output_folder("output", output)
        run, folder = load_config(config or PUBLISHED, [*changes, f"policy.model={model}"]), output
        quiet()
    from sdar_gym.runs.stop import RunStopped
    from sdar_gym.warmstart.run import Progress, check_warm_start, warm_start_model

    console = Terminal()
    for note in check_warm_start(run):
        console.tell(note)
    with progress_bar(console, "{task.fields[state]}") as bar:
        bars = {
            phase: bar.add_task(title, total=None, state="", visible=False)
            for phase, title in (("episodes", "expert"), ("steps", "training"))
        }

        def report(progress: Progress) -> None:
            figures = (
                ("loss", progress.loss, ".3f"),
                ("held out", progress.held_out, ".3f"),
                ("tokens/s", progress.speed, ".0f"),
            )
            state = " · ".join(f"{name} {value:{form}}" for name, value, form in figures if value is not None)
            task = bars[progress.phase]
            if not bar.tasks[task].visible:
                bar.reset(task, total=progress.total, visible=True)
            bar.update(task, completed=progress.done, total=progress.total, state=state)

        try:
            record = warm_start_model(run, folder, resume=resume is not None, report=report)
        except RunStopped as stopped:
            bar.stop()
            Terminal(stderr=True).tell(stopped.message)
            raise
    shown, result = record["demonstrations"], record["result"]
    train = shown["train"]
    console.print(
        f"{train['episodes']} episodes, {train['turns']} turns, {train['response_tokens']:,} of {train['tokens']:,} "
        f"tokens trained on; {result['steps']} steps in {result['seconds']:.0f} s"
    )
    if shown["unsolved_tasks"]:
        console.print(f"{shown['unsolved_tasks']} task(s) that the expert did not solve were left out", style="yellow")
    for ended, count in shown["cut_episodes"].items():
        console.print(f"{count} episode(s) end early, or were left out, since {_CUT[ended]}", style="yellow")
    if result["held_out_before"] is not None:
        console.print(
            f"held-out loss {result['held_out_before']:.3f} before, {result['held_out_after']:.3f} after, in nats per "
            f"response token ({shown['held_out']['episodes']} episodes of other training tasks)"
        )
    console.tell(f"policy: {folder / 'policy'}   evaluate it: sdar-gym eval {folder}")


def tiny_command(output: Path, env_id: str, steps: int | None, seed: int | None, measure: bool) -> None:
    """Trains a tiny policy with a progress bar, evaluates it on its configuration's panel, and accepts it or not."""
    check_output_folder("output", output)
    quiet()
    import torch

    from sdar_gym.warmstart.tiny import save_policy, warm_start
    from sdar_gym.warmstart.tiny_policies import tiny_policy_of

    tiny = tiny_policy_of(env_id)
    torch.set_num_threads(1)  # Faster than several threads for matrices this small.
    recipe = replace(tiny.recipe, seed=seed or 0)
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    console = Terminal()
    with progress_bar(console, "loss {task.fields[loss]:.3f}") as bar:
        task = bar.add_task("warm start", total=recipe.steps, loss=float("nan"))
        smooth = 0.0

        def report(step: int, loss: float) -> None:
            nonlocal smooth
            smooth = loss if step == 0 else 0.98 * smooth + 0.02 * loss
            bar.update(task, completed=step + 1, loss=smooth)

        model, tokenizer = warm_start(recipe, report)
    save_policy(model, tokenizer, output)
    content = {"recipe": recipe.to_json()}
    console.tell(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens, saved to {output}")
    if measure:
        with progress_bar(console, "episodes") as bar:
            task = bar.add_task("measuring", total=None)
            content["measured"] = tiny.measure(
                load_config(tiny.config),
                str(output),
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        measured = content["measured"]
        if "with_skills" in measured:
            names = {"without_skills": "without skills", "with_skills": "with", "wrong_skills": "with wrong ones"}
            columns = [(title, measured[name]) for name, title in names.items() if name in measured]
            console.print(result_table(columns))
        else:
            console.print(result_table([("alone", measured["alone"])]))
            for view in (view for view in measured if view not in ("alone", "accepted")):
                result = measured[view]
                console.print(
                    f"with {view}: {result['success']:.3f} in {result['episodes']} episodes, of which "
                    f"{result['same_episodes_alone']:.3f} were won alone"
                )
        good = Text("accepted", "bold green")
        bad = Text.assemble(("not accepted", "bold red"), ": train again")
        console.print(good if measured["accepted"] else bad)
    (output / "recipe.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
