"""Definitions of the commands `eval`, `compare` and `rescore`; each imports its implementation when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from sdar_gym.cli.path_arguments import PATH_OPTION
from sdar_gym.extras import require

_MOST = 1_000_000_000
_Text = Optional[str]  # noqa: UP045  typer reads the annotations at run time
_Path = Optional[Path]  # noqa: UP045


def _named(name: str) -> dict[str, Any]:
    return {**PATH_OPTION, "metavar": name}


def register_evaluation(app: typer.Typer) -> None:
    """Adds the commands.

    Args:
        app: The command line.
    """
    app.command("eval")(evaluate)
    app.command()(compare)
    app.command()(rescore)


def evaluate(
    policy: Annotated[
        _Text,
        typer.Argument(help="A run folder, its checkpoint, a saved policy, builtin:tiny, or a hub model."),
    ] = None,
    changes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="Changes to the configuration, key=value; dots for sections."),
    ] = None,
    config: Annotated[
        _Text, typer.Option(help="Configuration; default: the run's, quickstart for builtin:tiny, else published.")
    ] = None,
    env: Annotated[_Text, typer.Option(help="Environment; short for env=ID.")] = None,
    panel: Annotated[
        _Path, typer.Option(help="File of a panel; short for evaluation.panel=FILE.", **PATH_OPTION)
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Episodes of each task; short for evaluation.repeats=N.")
    ] = None,
    with_skills: Annotated[
        bool,
        typer.Option("--with-skills", help="Show the skills to the policy; short for evaluation.with_skills=true."),
    ] = False,
    strategy: Annotated[_Text, typer.Option(help="How skills are found; short for skills.strategy=NAME.")] = None,
    output: Annotated[
        _Path,
        typer.Option(help="Folder for the evaluation, new or empty; default: <runs_dir>/eval-<policy>.", **PATH_OPTION),
    ] = None,
    resume: Annotated[
        _Path,
        typer.Option(help="Folder of an evaluation: play what is missing or failed, as it was set.", **PATH_OPTION),
    ] = None,
    endpoint: Annotated[
        _Text, typer.Option(help="Address of a server with the OpenAI API, instead of POLICY: http://host:port/v1.")
    ] = None,
    model: Annotated[_Text, typer.Option(help="The model's name on the server.")] = None,
    key_env: Annotated[
        _Text, typer.Option(help="Environment variable with the server's API key; default OPENAI_API_KEY.")
    ] = None,
    max_connections: Annotated[
        int, typer.Option(min=1, max=10_000, help="Most requests to the server, and episodes, at once.")
    ] = 16,
    max_turns: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Turns after which an episode is truncated.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Sampled tokens after which an episode is truncated.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Seconds after which an episode is an error, which is not counted.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, max=1_000, help="Further tries of an episode with an error.")] = 1,
    max_errors: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of failed episodes above which the exit status is 1."),
    ] = 0.0,
) -> None:
    """Play the evaluation panel into a folder and print the success rate with its confidence interval.

    The policy is played in this process, or a server plays it: --endpoint URL --model NAME.
    """
    if policy is not None and "=" in policy and not Path(policy).exists():
        # If only changes are given, the first one arrives as the policy.
        policy, changes = None, [policy, *(changes or [])]
    if endpoint is not None:
        require("endpoint", "Evaluating a server's model")
    else:
        require("train", "Evaluating a policy")
    from sdar_gym.cli.evaluation import EvalOptions, eval_command
    from sdar_gym.rollout.episode_limits import EpisodeLimits

    short = {
        "env": env,
        "evaluation.panel": panel,
        "evaluation.repeats": repeats,
        "evaluation.with_skills": "true" if with_skills else None,
        "skills.strategy": strategy,
    }
    eval_command(
        EvalOptions(
            policy=policy,
            changes=(*(f"{key}={value}" for key, value in short.items() if value is not None), *(changes or [])),
            config=config,
            output=output,
            resume=resume,
            endpoint=endpoint,
            model=model,
            key_env=key_env,
            max_connections=max_connections,
            limits=EpisodeLimits(max_turns, max_tokens, max_seconds),
            retries=retries,
            max_errors=max_errors,
        )
    )


def compare(
    first: Annotated[Path, typer.Argument(help="An evaluation folder, or a run's (its last one).", **_named("FIRST"))],
    second: Annotated[Path, typer.Argument(help="Another one on the same panel.", **_named("SECOND"))],
    json_output: Annotated[_Path, typer.Option("--json", help="JSON file to write.", **PATH_OPTION)] = None,
) -> None:
    """Compare two evaluations on the same panel, task by task: SECOND minus FIRST."""
    require("endpoint", "Comparing evaluations")
    from sdar_gym.cli.compare import compare_command

    compare_command(first, second, json_output)


def rescore(
    evaluation: Annotated[Path, typer.Argument(help="An evaluation folder.", **_named("EVALUATION"))],
    changes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="Other arguments of the environment, env_config.NAME=VALUE: a folder that moved, say."),
    ] = None,
    output: Annotated[
        _Path, typer.Option(help="New folder for the evaluation with the new scores.", **PATH_OPTION)
    ] = None,
) -> None:
    """Play the recorded actions of an evaluation again and compute rewards and scores anew, without a policy."""
    require("endpoint", "Scoring an evaluation again")
    from sdar_gym.cli.rescore import rescore_command

    rescore_command(evaluation, changes or [], output)
