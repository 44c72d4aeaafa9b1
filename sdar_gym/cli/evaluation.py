"""The command `eval`: plays a panel with a policy or a server into a folder, and prints header and result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.text import Text

from sdar_gym.cli.evaluation_plan import EvalOptions, EvaluationPlan, plan_evaluation
from sdar_gym.cli.path_arguments import check_output_folder
from sdar_gym.cli.progress import progress_bar
from sdar_gym.cli.terminal import Terminal
from sdar_gym.cli.training import quiet, result_table
from sdar_gym.configs.schema import ConfigError
from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.evaluation.evaluate import Evaluation, evaluate
from sdar_gym.evaluation.folder import ERRORS, EvaluationFolder, new_evaluation_folder
from sdar_gym.evaluation.panels import PanelPlayer, panel_of
from sdar_gym.evaluation.record import EvaluationRecord
from sdar_gym.paths import local_path
from sdar_gym.rollout.chat_client import ChatClient
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.runs.lock import locked


def eval_command(options: EvalOptions) -> None:
    """Plays a panel into a folder, then prints the result."""
    if options.output is not None:
        check_output_folder("--output", options.output)
        EvaluationFolder(local_path("--output", options.output)).refuse_another()
    plan = plan_evaluation(options)
    console = Terminal()
    if plan.endpoint is not None:
        remark = ChatClient(plan.endpoint).check()
        if remark:
            console.print(remark, style="yellow")
    else:
        quiet()
    with plan.policy.loaded() if plan.policy is not None else contextlib.nullcontext("") as model:
        weights = plan.policy.weights(model) if plan.policy is not None else None
        panel = plan.folder.panel() if plan.folder is not None and plan.own_panel else panel_of(plan.run)
        record = EvaluationRecord.of(
            plan.run,
            panel,
            policy=plan.name,
            endpoint=None if plan.endpoint is None else plan.endpoint.url,
            weights=weights,
            config=plan.config,
            limits=plan.limits,
        )
        _refuse_differences(plan, record)
        with PanelPlayer(plan.run, plan.endpoint or model, plan.limits, panel) as player:
            _tell(console, plan, record)
            _warn_of_prompts(console, plan, model)
            started = time.perf_counter()
            folder = plan.folder or _new_folder(plan, options, record, panel)
            with locked(folder.path):
                done = folder.episodes(torn=True)
                console.tell(f"folder       {folder.path}{f', {len(done)} episodes are there' if done else ''}")
                try:
                    result = _play(console, player, folder, done, options.retries)
                except (KeyboardInterrupt, ValueError):
                    console.tell(f"What is finished is in {folder.path}: sdar-gym eval --resume {folder.path}")
                    raise
    _tell_result(console, plan, result, folder, time.perf_counter() - started)
    share = len(result.failed) / (len(result.failed) + len(result.episodes))
    if share > options.max_errors:
        raise typer.Exit(1)


def _play(
    console: Terminal, player: PanelPlayer, folder: EvaluationFolder, done: Sequence[Episode], retries: int
) -> Evaluation:
    with progress_bar(console, "episodes") as bar:
        task = bar.add_task("evaluating", total=len(player.requests()), completed=len(done))
        return evaluate(player, folder, done=done, retries=retries, finished=lambda _: bar.advance(task))


def _refuse_differences(plan: EvaluationPlan, record: EvaluationRecord) -> None:
    differences = plan.before.differences(record) if plan.before is not None else []
    if differences and plan.folder is not None:
        Terminal(stderr=True).tell("\n".join(["as it was -> as it would be", *differences]))
        raise ConfigError(
            f"{plan.folder.path} was played with other settings, the {len(differences)} above. Resume it without them, "
            "or start another evaluation."
        )


def _new_folder(
    plan: EvaluationPlan, options: EvalOptions, record: EvaluationRecord, panel: TaskPanel
) -> EvaluationFolder:
    """The folder of an evaluation that begins."""
    if options.output is not None:
        folder = EvaluationFolder(local_path("--output", options.output))
    else:
        short = plan.policy.short if plan.policy is not None else plan.name.rstrip("/").rsplit("/", 1)[-1]
        folder = new_evaluation_folder(local_path("runs_dir", plan.run.runs_dir), short)
    folder.begin(record, panel)
    return folder


def _tell(console: Terminal, plan: EvaluationPlan, record: EvaluationRecord) -> None:
    """Prints what is about to be evaluated, and how."""
    run = plan.run
    rollout, settings = run.rollout, run.evaluation
    if plan.endpoint is not None:
        console.tell(f"server       {plan.endpoint.url}, model {plan.endpoint.model}")
    else:
        console.tell(f"policy       {plan.name}{f', weights {record.weights}' if record.weights else ''}")
    console.tell(f"environment  {run.env}, configuration {plan.config}")
    context = f"window of {rollout.window} turns" if rollout.context == "window" else "one conversation"
    with_skills = f"skills ({run.skills.strategy})" if settings.with_skills else "no skills"
    reads = "" if plan.endpoint is not None else f", up to {rollout.max_prompt_tokens} tokens"
    console.tell(
        f"prompt       {rollout.prompt}, context {context}, "
        f"{'with' if rollout.think else 'without'} reasoning, {with_skills}{reads}"
    )
    cuts = f", top_p={settings.top_p:g}" if settings.top_p < 1 else ""
    cuts += f", top_k={settings.top_k}" if settings.top_k else ""
    repeats = f"{settings.repeats} episodes a task" if settings.repeats > 1 else "one episode a task"
    console.tell(
        f"sampling     T={settings.temperature:g}{cuts}, up to {rollout.max_response_tokens} tokens a response, "
        f"seed {settings.seed}, {repeats}"
    )
    console.tell(f"panel        {record.panel_name}, hash {record.panel_hash}, {record.tasks} tasks")
    told = [f"{value:g} {name}" for name, value in record.limits.items() if value is not None]
    console.tell(f"limits       {', '.join(told) if told else 'the environment alone'}")


def _warn_of_prompts(console: Terminal, plan: EvaluationPlan, model: str) -> None:
    if plan.policy is None:
        return
    from sdar_gym.policy.trained_prompt import prompt_differences

    for difference in prompt_differences(Path(model), plan.run.rollout):
        console.print(f"The policy was trained with other prompts. {difference}.", style="yellow")


def _tell_result(
    console: Terminal, plan: EvaluationPlan, result: Evaluation, folder: EvaluationFolder, seconds: float
) -> None:
    from sdar_gym.rollout.notices import notices

    console.print(result_table([(plan.policy.short if plan.policy else plan.name, result.summary)]))
    turns = [turn for episode in result.played for turn in episode.turns]
    read, sampled = sum(t.prompt_tokens - t.cached_tokens for t in turns), sum(t.response_tokens for t in turns)
    speed = f", {(read + sampled) / max(seconds, 1e-9):.0f} tokens/s"
    console.print(
        f"{len(result.played)} episodes in {seconds:.0f} s: {read} prompt tokens read and {sampled} response "
        f"tokens{speed}"
    )
    for sentence in notices(result.summary).values():
        console.print(sentence, style="yellow")
    if result.failed:
        number, whole = len(result.failed), len(result.failed) + len(result.episodes)
        console.print(
            Text(
                f"{number} of {whole} episodes failed and are counted nowhere: success is over the {whole - number} "
                f"finished ones. {folder.path / ERRORS} has the errors, the last one is: {result.failed[-1].error}"
            ),
            style="bold red",
        )
        console.tell(f"sdar-gym eval --resume {folder.path} plays them again.")
    console.tell(f"written to {folder.path}")
