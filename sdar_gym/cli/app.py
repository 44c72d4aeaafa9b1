"""The commands themselves; each is thin, and loads what it needs when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from sdar_gym.cli.methods import methods_app
from sdar_gym.cli.path_arguments import PLACE, check_output_folder
from sdar_gym.cli.terminal import (
    Terminal,
    explained,
    leave_closed_pipe,
    never_fail_for_a_letter,
    own_warnings_only,
    table,
    tell_error,
)
from sdar_gym.envs.registry import entries
from sdar_gym.extras import require

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data", help="List and fetch the benchmarks' own data.")
skills_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(skills_app, name="skills", help="Look into skill libraries, search them, let them grow.")
app.add_typer(methods_app, name="methods", help="List the learner's methods, and show what each is made of.")
# typer brings its own click since 0.27; either way this is the base of what is wrong with a command line.
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
        typer.Option(help="Run folder to go on with, exactly, with its own settings.", **PLACE),
    ] = None,
) -> None:
    """Train, and leave a run folder with everything in it."""
    require("train", "Training")
    from sdar_gym.cli.training import train_command

    train_command(config, changes or [], resume)


@app.command("eval")
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A run folder, a saved policy, builtin:tiny, or a hub model.")],
    changes: Changes = None,
    config: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Configuration; default: the run's, quickstart for builtin:tiny, else published."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for the episodes and the summary.", **PLACE),
    ] = None,
) -> None:
    """Play a frozen panel and print success with its interval."""
    require("train", "Evaluating a policy")
    from sdar_gym.cli.training import eval_command

    eval_command(checkpoint, changes or [], config, output)


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
    skills: Annotated[bool, typer.Option(help="Show what the skill library says.")] = False,
) -> None:
    """Play yourself, in the terminal."""
    from sdar_gym.cli.play import play_command

    play_command(env, arguments or [], task, seed, skills)


@app.command()
def warmstart(
    output: Annotated[Path, typer.Argument(help="Folder for the policy.", **PLACE)],
    steps: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Optimizer steps; default: the shipped recipe's.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=_LARGEST_SEED, help="Seed of the demonstrations and the initial weights.")
    ] = 0,
    measure: Annotated[
        bool, typer.Option(help="Play the quick start's panel without and with skills at the end.")
    ] = True,
) -> None:
    """Train the tiny policy and its tokenizer from scratch on expert play."""
    require("train", "The warm start")
    from sdar_gym.cli.training import warmstart_command

    warmstart_command(output, steps, seed, measure)


@app.command()
def index(
    corpus: Annotated[Path, typer.Argument(help="Passages: .jsonl, .jsonl.gz, .json or .parquet.", **PLACE)],
    output: Annotated[Path, typer.Option(help="Folder for the index, new or empty.", **PLACE)],
    backend: Annotated[str, typer.Option(help="lucene, or bm25s for up to some 100,000 passages.")] = "lucene",
    k1: Annotated[float, typer.Option(help="BM25 term-frequency saturation.")] = 0.9,
    b: Annotated[float, typer.Option(help="BM25 length normalisation.")] = 0.4,
) -> None:
    """Index passages for Search-QA."""
    from sdar_gym.cli.search import index_command

    check_output_folder("--output", output)
    index_command(corpus, output, backend, k1, b)


@app.command("serve-search")
def serve_search(
    index: Annotated[Path, typer.Argument(help="A folder made by `sdar-gym index`.", **PLACE)],
    host: Annotated[
        str, typer.Option(help="Address to listen at. Other machines: 0.0.0.0, in a trusted network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any free one.")] = 8000,
    topk: Annotated[int, typer.Option(help="Passages a query, where a request does not say.")] = 3,
) -> None:
    """Serve an index to many processes, by the contract of Search-R1 (POST /retrieve)."""
    from sdar_gym.cli.search import serve_command

    serve_command(index, host, port, topk)


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing, and the command that mends it."""
    from sdar_gym.cli.doctor import doctor_command

    doctor_command()


@data_app.command("list")
def data_list() -> None:
    """List what can be fetched."""
    from sdar_gym.cli.data import list_command

    list_command()


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="alfworld, webshop or searchqa.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of all data sets; default $SDAR_GYM_DATA, else ./sdar_gym_data.", **PLACE),
    ] = None,
    mirror: Annotated[Optional[str], typer.Option(help="Base address to fetch from instead.")] = None,  # noqa: UP045
    offline: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Local folder to copy from instead.", **PLACE),
    ] = None,
    full: Annotated[bool, typer.Option(help="The large and the rarely needed files too.")] = False,
) -> None:
    """Fetch a benchmark's own data: resumed, checked, recorded, unpacked."""
    from sdar_gym.cli.data import fetch_command

    fetch_command(name, output, mirror, offline, full)


@app.command()
def baselines(
    envs: Annotated[Optional[list[str]], typer.Argument(help="Environments; default: all.")] = None,  # noqa: UP045
    episodes: Annotated[int, typer.Option(min=1, max=_MOST, help="Tasks of each split's panel.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random policy.")] = 0,
    output: Annotated[Optional[Path], typer.Option(help="Markdown page to write.", **PLACE)] = None,  # noqa: UP045
    json_output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="JSON file to write.", **PLACE),
    ] = None,
) -> None:
    """Measure the policies without a model: random, and the environment's expert."""
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
    goal: Annotated[str, typer.Argument(help="A task in the environment's words.")],
    strategy: Annotated[str, typer.Option(help="bm25, keywords, oracle_type, ucb, full or random.")] = "bm25",
    k: Annotated[int, typer.Option(min=1, max=_MOST, help="Most skills to pick.")] = 5,
    backend: Annotated[str, typer.Option(help="Of bm25: auto, bm25s or lucene.")] = "auto",
    task_type: Annotated[str, typer.Option(help="The task's type, for oracle_type.")] = "",
    general: Annotated[bool, typer.Option(help="Show the general skills first.")] = False,
    text: Annotated[bool, typer.Option(help="Print the text that a model would read.")] = False,
) -> None:
    """Show what a strategy picks for a task."""
    from sdar_gym.cli.skills import search_command

    search_command(library, goal, strategy, k, backend, task_type, general, text)


@skills_app.command("add")
def skills_add(
    library: Annotated[str, typer.Argument(help="What grows: a folder, new or not; with --output any library.")],
    source: Annotated[
        Path, typer.Argument(help="Another library in any form, a run folder, or a file of episodes.", **PLACE)
    ],
    output: Annotated[Path | None, typer.Option(help="New folder to save into; default: where it is.", **PLACE)] = None,
    env: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Environment of the skills; default: the library's."),
    ] = None,
    min_mistakes: Annotated[
        int, typer.Option(min=1, max=_MOST, help="Refusals, or omissions, that are worth a skill.")
    ] = 3,
    duplicates: Annotated[bool, typer.Option(help="Add what the library says already, too.")] = False,
    split: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Whose episodes are learned from; may be given several times. Default: train."),
    ] = None,
    with_model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Instruction model that writes the candidates; default: they are made by rule."),
    ] = None,
) -> None:
    """Add skills to a library: another library's, or what played episodes teach."""
    from sdar_gym.cli.skills import add_command

    add_command(library, source, output, env, min_mistakes, duplicates, split or ["train"], with_model)


@skills_app.command("stats")
def skills_stats(
    library: Annotated[str, typer.Argument(help="A built-in library, a folder or a JSON file.")],
) -> None:
    """Sizes of a library, its fingerprint, and the skills most alike."""
    from sdar_gym.cli.skills import stats_command

    stats_command(library)


def _tell_usage(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":  # Nothing was asked for; this prints the help.
        error.show()
        return
    where = error.ctx.command_path if error.ctx is not None else "sdar-gym"
    tell_error(f"{error.format_message().removesuffix('.')}. See {where} --help.")


def main() -> None:
    """Run the command line; a user's mistake is one message, not a traceback."""
    never_fail_for_a_letter()
    code = 0
    try:
        with own_warnings_only():
            ended = app(standalone_mode=False)  # The code of an early exit; commands themselves return nothing.
        code = ended if isinstance(ended, int) else 0
        if sys.stdout is not None:
            sys.stdout.flush()  # A full disk is found here rather than after the last line of Python.
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        code = 1
    except _UsageError as error:
        code = 2
        _tell_usage(error)
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        code = 2
        tell_error(explained(error))
    leave_closed_pipe()
    sys.exit(code)
