"""Command definitions of `sdar-gym` (typer); each command imports its implementation when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from sdar_gym.cli.evaluation_commands import register_evaluation
from sdar_gym.cli.methods import methods_app
from sdar_gym.cli.path_arguments import PATH_OPTION, check_output_folder, run_place
from sdar_gym.cli.terminal import (
    Terminal,
    explained,
    leave_closed_pipe,
    own_warnings_only,
    replace_unencodable_characters,
    table,
    tell_error,
)
from sdar_gym.envs.registry import entries
from sdar_gym.extras import require

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data", help="List and download the original data of the benchmarks.")
skills_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(skills_app, name="skills", help="List, search and extend skill libraries.")
app.add_typer(methods_app, name="methods", help="List the training methods, and show their settings.")
# click's UsageError: typer has its own copy of click since 0.27.
_UsageError: Any = typer.BadParameter.__mro__[1]
_MOST, _LARGEST_SEED = 1_000_000_000, 2**32 - 1
Changes = Annotated[
    Optional[list[str]],  # noqa: UP045  typer reads the annotation at run time
    typer.Argument(help="Changes to the configuration, key=value; dots for sections."),
]


@app.command()
def train(
    config: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="A built-in configuration (quickstart, …) or a YAML file; not needed with --resume."),
    ] = None,
    changes: Changes = None,
    resume: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Run folder to resume, exactly, with its own settings, or the address of its mirror.",
            parser=run_place,
            metavar="PATH",
        ),
    ] = None,
) -> None:
    """Train, and write everything to a run folder."""
    require("train", "Training")
    from sdar_gym.cli.training import train_command

    train_command(config, changes or [], resume)


register_evaluation(app)


@app.command()
def view(
    folders: Annotated[
        list[Path],
        typer.Argument(help="A run folder or an evaluation's; a second one is compared with it.", **PATH_OPTION),
    ],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="HTML file to write, default view.html in the first folder; with --export its file or folder.",
            **PATH_OPTION,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Write it again whenever the run goes on.")] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    terminal: Annotated[bool, typer.Option("--terminal", help="Print it here instead, as over ssh.")] = False,
    task_type: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--type", help="With --terminal: list the episodes of a task type."),
    ] = None,
    outcome: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="With --terminal: list won or lost episodes, or those that ended in one way (truncated, …)."),
    ] = None,
    update: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="With --terminal: list the episodes of an update; of two runs, compare this one."),
    ] = None,
    task: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="With --terminal: list the episodes whose task or goal has this text."),
    ] = None,
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=_MOST, help="With --terminal: most rows of a list; default 20."),
    ] = None,
    episode: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="With --terminal: show an episode, BATCH/ID, such as train-00010/3/1."),
    ] = None,
    color: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="With --episode: color of tokens by gap (default), gate, advantage, weight, entropy, change or clip."
        ),
    ] = None,
    export: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Write logs for another viewer instead: inspect, the form of inspect_ai."),
    ] = None,
    batch: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="With --export: one batch, such as train-00010; default: every evaluation."),
    ] = None,
) -> None:
    """Write a page that shows a run: curves, episodes, and what the teacher said of every token."""
    from sdar_gym.cli import view as implementation

    of_list = {"--type": task_type, "--outcome": outcome, "--task": task, "--update": update, "--limit": limit}
    of_terminal = {**of_list, "--episode": episode, "--color": color}
    of_page = {"--output": output, "--follow": follow or None, "--open": open_browser or None}
    implementation.refuse_options_of_another_form(terminal, export, of_terminal, of_page, {"--batch": batch})
    if export is not None:
        implementation.export_command(folders, export, output, batch)
    elif terminal:
        implementation.terminal_command(folders, of_list, episode, color)
    else:
        implementation.view_command(folders, output, follow, open_browser)


@app.command()
def reproduce(
    study: Annotated[
        str,
        typer.Argument(
            help="quickstart: GRPO, SDAR, and SDAR with wrong skills, one run each. micro: methods over seeds. "
            "chat: GRPO and SDAR with a chat model, policy.model=FOLDER."
        ),
    ],
    changes: Changes = None,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="micro: a part by name; may be repeated. Default: all."),
    ] = None,
    seeds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=_MOST, help="Seeds of each arm; default 8, for chat 3."),
    ] = None,
    tuning_seeds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=_MOST, help="micro: seeds of each value that is tried; default 2."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=_MOST, help="Runs at a time, one core each.")] = 2,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Folder of runs and results, in which an interrupted study goes on; default reproduce-STUDY.",
            **PATH_OPTION,
        ),
    ] = None,
) -> None:
    """Reproduce a study of what a teacher is worth: three runs of the quick start, or all methods over seeds."""
    require("train", "A study")
    from sdar_gym.cli.reproduce import reproduce_chat, reproduce_micro, reproduce_quickstart

    output = output or Path(f"reproduce-{study}")
    if study == "micro":
        reproduce_micro(only or [], seeds or 8, tuning_seeds or 2, jobs, output, changes or [])
    elif study == "chat":
        if only or tuning_seeds:
            raise typer.BadParameter("--only and --tuning-seeds belong to micro; chat has one part and tunes nothing.")
        reproduce_chat(seeds or 3, jobs, output, changes or [])
    elif study == "quickstart":
        if only or seeds or tuning_seeds:
            raise typer.BadParameter("--only, --seeds and --tuning-seeds belong to other studies.")
        reproduce_quickstart(jobs, output, changes or [])
    else:
        raise typer.BadParameter(f"There is no study {study}; there are quickstart, micro and chat.")


@app.command()
def plan(
    config: Annotated[str, typer.Argument(help="A built-in configuration (alfworld, …) or a YAML file.")],
    changes: Changes = None,
    gpu: Annotated[str, typer.Option(help="H100, H200, A100, L40S or RTX4090.")] = "H100",
    tasks: Annotated[int, typer.Option(min=1, max=_MOST, help="Training tasks to play, each as a group.")] = 8,
    response_tokens: Annotated[
        int, typer.Option(min=1, max=_MOST, help="Assumed length of a response that reasons first.")
    ] = 150,
    mfu: Annotated[float, typer.Option(help="Assumed share of the peak operations.")] = 0.3,
    bandwidth: Annotated[float, typer.Option(help="Assumed share of the memory bandwidth in decoding.")] = 0.6,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a run costs before it starts: tokens, memory, seconds and GPU-hours."""
    require("train", "A plan")
    from sdar_gym.cli.plan import plan_command

    plan_command(config, changes or [], gpu, tasks, response_tokens, mfu, bandwidth, as_json)


@app.command()
def envs() -> None:
    """List the registered environments."""
    rows = [(entry.id, entry.entry_point, entry.skills or "-") for entry in entries()]
    Terminal().print(table(("id", "class", "skills"), rows))


@app.command()
def play(
    env: Annotated[str, typer.Argument(help="A registered environment.")],
    arguments: Annotated[Optional[list[str]], typer.Argument(help="Its arguments, key=value.")] = None,  # noqa: UP045
    task: Annotated[Optional[str], typer.Option(help="Task id; default: a random one.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Seed of the random choice.", min=0)] = 0,
    skills: Annotated[bool, typer.Option(help="Show the retrieved skills.")] = False,
) -> None:
    """Play an environment yourself, in the terminal."""
    from sdar_gym.cli.play import play_command

    play_command(env, arguments or [], task, seed, skills)


@app.command("new-env")
def new_env(
    name: Annotated[str, typer.Argument(help="Name of the package, such as word_ladder.")],
    folder: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder to write the package's folder into; default: this one.", **PATH_OPTION),
    ] = None,
) -> None:
    """Write a small package with a new text environment, to edit and install."""
    from sdar_gym.cli.new_env import new_env_command

    if folder is not None:
        check_output_folder("--folder", folder)
    new_env_command(name, folder or Path())


@app.command()
def warmstart(
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(help="Folder for the policy, new or empty; not needed with --resume.", **PATH_OPTION),
    ] = None,
    changes: Changes = None,
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Chat model to fine-tune: a folder or a hub name. Default: make the tiny policy."),
    ] = None,
    config: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="With --model: configuration of environment and prompts; default published."),
    ] = None,
    resume: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Interrupted warm start of a model to continue, exactly.", **PATH_OPTION),
    ] = None,
    env: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Tiny policy: the environment that it is for; default sdar/ALFWorld-v0."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Tiny policy: optimizer steps; default: the built-in one's.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=_LARGEST_SEED, help="Tiny policy: seed of demonstrations and weights; default 0."),
    ] = None,
    measure: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            "--measure/--no-measure",
            help="Tiny policy: at the end, play its panel without and with skills, or its views; default: yes.",
        ),
    ] = None,
) -> None:
    """Fine-tune a chat model on the episodes of an environment's expert; without --model, make the tiny policy."""
    require("train", "The warm start")
    from sdar_gym.cli.warmstart import model_command, tiny_command

    of_tiny = {"--env": env, "--steps": steps, "--seed": seed, "--measure": measure}
    if model is not None or resume is not None:
        for name, value in of_tiny.items():
            if value is not None:
                raise typer.BadParameter(f"{name} is for the tiny policy; with --model use settings, key=value.")
        model_command(output, model, config, changes or [], resume)
        return
    if output is None:
        raise typer.BadParameter("Missing argument 'OUTPUT'.")
    if changes or config:
        raise typer.BadParameter(
            f"{(changes or [f'--config {config}'])[0]} needs --model: the tiny policy has a recipe."
        )
    tiny_command(output, env or "sdar/ALFWorld-v0", steps, seed, measure is not False)


@app.command()
def index(
    corpus: Annotated[Path, typer.Argument(help="Passages: .jsonl, .jsonl.gz, .json or .parquet.", **PATH_OPTION)],
    output: Annotated[Path, typer.Option(help="Folder for the index, new or empty.", **PATH_OPTION)],
    backend: Annotated[str, typer.Option(help="lucene, or bm25s for up to some 100,000 passages.")] = "lucene",
    k1: Annotated[float, typer.Option(help="BM25 term-frequency saturation.")] = 0.9,
    b: Annotated[float, typer.Option(help="BM25 length normalization.")] = 0.4,
) -> None:
    """Build a search index of passages for Search-QA."""
    from sdar_gym.cli.search import index_command

    check_output_folder("--output", output)
    index_command(corpus, output, backend, k1, b)


@app.command("serve-search")
def serve_search(
    index: Annotated[Path, typer.Argument(help="A folder made by `sdar-gym index`.", **PATH_OPTION)],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines of a trusted network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any free one.")] = 8000,
    topk: Annotated[int, typer.Option(help="Passages per query, if the request has no topk.")] = 3,
) -> None:
    """Serve an index over HTTP, with the API of Search-R1 (POST /retrieve)."""
    from sdar_gym.cli.search import serve_command

    serve_command(index, host, port, topk)


@app.command("serve-env")
def serve_env(
    env: Annotated[str, typer.Argument(help="A registered environment.")],
    arguments: Annotated[Optional[list[str]], typer.Argument(help="Its arguments, key=value.")] = None,  # noqa: UP045
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines of a trusted network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any free one.")] = 8000,
    prompt: Annotated[str, typer.Option(help="Prompt template.")] = "window",
    think: Annotated[bool, typer.Option("--think", help="Ask for reasoning in <think> tags.")] = False,
    show_actions: Annotated[
        str, typer.Option(help="Where prompts list the admissible actions: each, first or never.")
    ] = "each",
    max_sessions: Annotated[int, typer.Option(min=1, max=100_000, help="Most sessions at once.")] = 64,
) -> None:
    """Serve an environment by OpenEnv's protocol, for trainers that speak it."""
    from sdar_gym.cli.serve_env import serve_env_command

    serve_env_command(env, arguments or [], host, port, prompt, think, show_actions, max_sessions)


@app.command()
def doctor(
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A folder, builtin:tiny or a hub model to report on instead of the installation."),
    ] = None,
    env: Annotated[
        str, typer.Option(help="With --model: the environment whose turns are counted.")
    ] = "sdar/ALFWorld-v0",
) -> None:
    """Show what is installed, what is missing, and the command that fixes it; with --model, what fits a model."""
    from sdar_gym.cli.doctor import doctor_command

    if model is not None:
        require("train", "Looking at a model")
    doctor_command(model, env)


@data_app.command("list")
def data_list() -> None:
    """List the data sets and files that can be downloaded."""
    from sdar_gym.cli.data import list_command

    list_command()


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="alfworld, webshop or searchqa.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for all data sets; default $SDAR_GYM_DATA, else ./sdar_gym_data.", **PATH_OPTION),
    ] = None,
    mirror: Annotated[Optional[str], typer.Option(help="Base address to download from instead.")] = None,  # noqa: UP045
    offline: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Local folder to copy from instead.", **PATH_OPTION),
    ] = None,
    full: Annotated[bool, typer.Option(help="Download the large and rarely needed files too.")] = False,
) -> None:
    """Download the original data of a benchmark: resumable, with checksums, unpacked."""
    from sdar_gym.cli.data import fetch_command

    fetch_command(name, output, mirror, offline, full)


@app.command()
def baselines(
    envs: Annotated[Optional[list[str]], typer.Argument(help="Environments; default: all.")] = None,  # noqa: UP045
    episodes: Annotated[int, typer.Option(min=1, max=_MOST, help="Number of tasks of each split.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random policy.")] = 0,
    output: Annotated[Optional[Path], typer.Option(help="Markdown page to write.", **PATH_OPTION)] = None,  # noqa: UP045
    json_output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="JSON file to write.", **PATH_OPTION),
    ] = None,
) -> None:
    """Measure the baselines without a model: random play, and the environment's scripted expert."""
    from sdar_gym.cli.baselines import baselines_command

    baselines_command(envs or [], episodes, seed, output, json_output)


@skills_app.command("list")
def skills_list(
    library: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="A built-in library, a folder or a JSON file; default: list the built-in ones."),
    ] = None,
) -> None:
    """List libraries, or the skills of one."""
    from sdar_gym.cli.skills import list_command

    list_command(library)


@skills_app.command("search")
def skills_search(
    library: Annotated[str, typer.Argument(help="A built-in library, a folder or a JSON file.")],
    goal: Annotated[str, typer.Argument(help="A task's goal, as the environment states it.")],
    strategy: Annotated[str, typer.Option(help="bm25, keywords, oracle_type, ucb, full or random.")] = "bm25",
    k: Annotated[int, typer.Option(min=1, max=_MOST, help="Most skills to return.")] = 5,
    backend: Annotated[str, typer.Option(help="Backend of bm25: auto, bm25s or lucene.")] = "auto",
    task_type: Annotated[str, typer.Option(help="The task's type, for oracle_type.")] = "",
    general: Annotated[bool, typer.Option(help="Show the general skills first.")] = False,
    text: Annotated[bool, typer.Option(help="Print the text for the prompt.")] = False,
) -> None:
    """Show which skills a retrieval strategy returns for a task."""
    from sdar_gym.cli.skills import search_command

    search_command(library, goal, strategy, k, backend, task_type, general, text)


@skills_app.command("add")
def skills_add(
    library: Annotated[
        str, typer.Argument(help="The library to extend: a folder, may be new; with --output any library.")
    ],
    source: Annotated[
        Path, typer.Argument(help="Another library in any format, a run folder, or a file of episodes.", **PATH_OPTION)
    ],
    output: Annotated[
        Path | None, typer.Option(help="New folder for the result; default: the library itself.", **PATH_OPTION)
    ] = None,
    env: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Environment of the skills; default: the library's."),
    ] = None,
    min_mistakes: Annotated[
        int, typer.Option(min=1, max=_MOST, help="Number of refused or missing actions that make a skill.")
    ] = 3,
    duplicates: Annotated[bool, typer.Option(help="Also add skills that the library already has.")] = False,
    split: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Split of the episodes to learn from; may be repeated. Default: train."),
    ] = None,
    with_model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Instruction model that writes the candidates; default: written by rules."),
    ] = None,
) -> None:
    """Add skills to a library, from another library or from played episodes."""
    from sdar_gym.cli.skills import add_command

    add_command(library, source, output, env, min_mistakes, duplicates, split or ["train"], with_model)


@skills_app.command("audit")
def skills_audit(
    policy: Annotated[str, typer.Argument(help="A run folder, a saved policy, builtin:tiny, or a hub model.")],
    changes: Changes = None,
    config: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Configuration; default: the run's, quickstart for builtin:tiny, else published."),
    ] = None,
    env: Annotated[Optional[str], typer.Option(help="Environment; default: the configuration's.")] = None,  # noqa: UP045
    library: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Skill library: a name, a folder or a file; default: the configuration's."),
    ] = None,
    strategy: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Retrieval strategy; default: the configuration's."),
    ] = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Split of the tasks; default: the training split, so that test tasks stay unseen."),
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of tasks, the same ones every time.")] = 192,
    repeats: Annotated[int, typer.Option(min=1, max=10_000, help="Episodes of each task.")] = 1,
    alone: Annotated[
        bool, typer.Option("--alone", help="Also play each skill alone in the prompt; its row shows that.")
    ] = False,
    json_output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="JSON file to write.", **PATH_OPTION),
    ] = None,
) -> None:
    """Show what each skill is worth to a policy: the same tasks without and with skills in the prompt."""
    require("train", "Auditing skills")
    from sdar_gym.cli.skill_audit import audit_command

    audit_command(policy, changes or [], config, env, library, strategy, split, tasks, repeats, alone, json_output)


@skills_app.command("stats")
def skills_stats(
    library: Annotated[str, typer.Argument(help="A built-in library, a folder or a JSON file.")],
) -> None:
    """Show the sizes of a library, its fingerprint, and its most similar skills."""
    from sdar_gym.cli.skills import stats_command

    stats_command(library)


def _print_usage_error(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":  # No arguments; this prints the help.
        error.show()
        return
    where = error.ctx.command_path if error.ctx is not None else "sdar-gym"
    tell_error(f"{error.format_message().removesuffix('.')}. See {where} --help.")


def main() -> None:
    """Run the command line; user errors are one message without a traceback."""
    replace_unencodable_characters()
    code = 0
    try:
        with own_warnings_only():
            ended = app(standalone_mode=False)  # The exit status of an early exit; commands return None.
        code = ended if isinstance(ended, int) else 0
        if sys.stdout is not None:
            sys.stdout.flush()  # Report a full disk here, not at interpreter shutdown.
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        code = 1
    except _UsageError as error:
        code = 2
        _print_usage_error(error)
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        code = 2
        tell_error(explained(error))
    leave_closed_pipe()
    sys.exit(code)
