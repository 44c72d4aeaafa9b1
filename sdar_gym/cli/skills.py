"""Looks into skill libraries and lets them grow: the bodies of `sdar-gym skills …`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sdar_gym.extras import require
from sdar_gym.paths import local_path
from sdar_gym.skills import (
    DuplicateSkillError,
    Skill,
    SkillLibrary,
    SkillQuery,
    builtin_libraries,
    load_library,
    make_retriever,
    most_similar,
)
from sdar_gym.skills.published import MAPPING
from sdar_gym.skills.summarise import TRAIN, read_episodes, summarise
from sdar_gym.skills.writing import check_target
from sdar_gym.text import terminal_safe


def list_command(name: str | None) -> None:
    """List the built-in libraries, or the skills of one library."""
    if name is None:
        rows = [
            (library.name, str(len(library)), ", ".join(library.task_types))
            for library in map(SkillLibrary.builtin, builtin_libraries())
        ]
        _print_table(("library", "skills", "task types"), rows)
        return
    library = load_library(name)
    _print_table(("id", "kind", "task types", "title"), [_row(skill) for skill in library])


def search_command(
    name: str, goal: str, strategy: str, k: int, backend: str, task_type: str, general: bool, text: bool
) -> None:
    """Show what a strategy picks for a task, with its scores."""
    library = load_library(name)
    retriever = make_retriever(strategy, library, k=k, include_general=general, backend=backend)
    answer = retriever.retrieve(SkillQuery(library.name, task_type, goal))
    if text:
        _say(answer.text)
        return
    if not answer.skills:
        _say("Nothing found.")
        return
    rows = [(f"{scored.score:.3f}", *_row(scored.skill)) for scored in answer.skills]
    _print_table(("score", "id", "kind", "task types", "title"), rows)


def stats_command(name: str) -> None:
    """Sizes of a library, its fingerprint, and the two skills that are most alike."""
    library = load_library(name)
    counts = Counter(task_type for skill in library for task_type in skill.task_types)
    words = [len(skill.text.split()) for skill in library]
    alike = ((pair[1], skill.id, pair[0]) for skill, pair in _closest(library))
    closest = max(alike, default=None)
    rows = [
        ("library", f"{library.name}, version {library.version}"),
        ("fingerprint", library.fingerprint()),
        ("skills", str(len(library))),
        ("general", str(len(library.general()))),
        ("general mistakes", str(len(library.mistakes()))),
        *((task_type, str(count)) for task_type, count in counts.items()),
        ("words a skill", f"{mean(words):.1f} on average, {max(words)} at most" if words else "-"),
        ("most alike", f"{closest[1]} and {closest[2]} ({closest[0]:.2f})" if closest else "-"),
    ]
    _print_table(("", ""), rows)


def add_command(
    target: str,
    source: Path,
    output: Path | None,
    env: str | None,
    min_mistakes: int,
    duplicates: bool,
    splits: Sequence[str] = (TRAIN,),
    with_model: str | None = None,
) -> None:
    """Add the skills of another library, or what the episodes of a run teach, and save the library.

    Args:
        target: The library that grows.
        source: Another library, a run folder, or a file of episodes.
        output: Where the grown library goes; None: where it is.
        env: Environment of the skills.
        min_mistakes: See `sdar_gym.skills.summarise.summarise`.
        duplicates: Whether skills come in that say what the library says already.
        splits: Whose episodes are learned from.
        with_model: Model that writes the candidates; None: they are made by rule.

    Raises:
        ValueError: The library cannot be saved where it is, or nothing in the source can be added.
    """
    builtin = target in builtin_libraries()
    place = Path(target) if builtin else local_path("The skill library", target)
    folder = place if output is None else local_path("--output", output)
    source = local_path("The source", source)
    if builtin and output is None:
        raise ValueError(f"{target!r} comes with the package; say --output FOLDER for the library that grows from it.")
    if output is None and (folder.is_file() or (folder / MAPPING).exists()):
        raise ValueError(f"{target} is in a published form, which is read only; say --output FOLDER.")
    # Before the work: a model may write for minutes.
    check_target(folder, overwrite=output is None)
    exists = builtin or place.exists()
    library = load_library(target, env=env) if exists else SkillLibrary(folder.name, ())
    library = SkillLibrary(library.name, library.skills, library.version)
    named = env or next((skill.env for skill in library), library.name)
    added = 0
    candidates, refused = _candidates(source, named, min_mistakes, splits, with_model)
    for skill in candidates:
        if skill.id in library:
            refused.append(f"Library {library.name!r} has a skill with the id {skill.id!r} already.")
            continue
        try:
            library.add(replace(skill, env=named), **({"duplicate_above": None} if duplicates else {}))
            added += 1
        except DuplicateSkillError as error:
            refused.append(str(error))
    for message in refused:
        _say(message)
    if not added:
        raise ValueError(f"Nothing in {source} is new to {library.name!r}; {len(refused)} skill(s) were left out.")
    library.save(folder, overwrite=output is None)
    _say(f"{added} added, {len(refused)} left out; {len(library)} skills, version {library.version}, in {folder}.")


def _candidates(
    source: Path, env: str, min_mistakes: int, splits: Sequence[str], with_model: str | None
) -> tuple[tuple[Skill, ...], list[str]]:
    """What may be added, and what to tell of answers that were refused."""
    if source.suffix == ".jsonl" or (source / "episodes").is_dir():
        episodes = read_episodes(source, splits)
        # Runs of one configuration differ by the folder above theirs; the whole path is nobody else's business.
        origin = f"run {'/'.join(source.resolve().parts[-2:])}"
        if with_model is None:
            return summarise(episodes, env=env, origin=origin, min_mistakes=min_mistakes), []
        return _written(episodes, env, origin, with_model)
    if with_model is not None:
        raise ValueError(f"{with_model!r} writes skills from episodes, and {source} is no run folder; name one.")
    return load_library(source, env=env).skills, []


def _written(
    episodes: list[dict[str, Any]], env: str, origin: str, model_name: str
) -> tuple[tuple[Skill, ...], list[str]]:
    require("train", "Writing skills with a model")
    import torch

    from sdar_gym.cli.training import quiet
    from sdar_gym.policy.device import choose_device
    from sdar_gym.policy.load import load_model, load_tokenizer
    from sdar_gym.rollout.engines.transformers_engine import engine_of
    from sdar_gym.rollout.skill_writer import refuse_unfit, write_skills

    quiet()
    tokenizer = load_tokenizer(model_name)
    refuse_unfit(model_name, tokenizer)  # before the weights are loaded
    model = load_model(model_name, "auto")
    torch.nn.Module.to(model, choose_device("auto"))
    # A reasoning model would think through all the tokens of its answer.
    kwargs = {"enable_thinking": False}
    engine = engine_of(model, tokenizer)
    written = write_skills(
        engine, tokenizer, episodes, model=model_name, env=env, origin=origin, chat_template_kwargs=kwargs
    )
    told = [
        f"What {model_name} wrote of {refused.task_type!r} was refused: {refused.reason}."
        for refused in written.refused
    ]
    return written.skills, told


def _closest(library: SkillLibrary) -> list[tuple[Skill, tuple[str, float]]]:
    found = []
    for skill in library:
        others = [other for other in library if other.id != skill.id]
        found += [(skill, pair) for pair in most_similar(skill, others)]
    return found


def _row(skill: Skill) -> tuple[str, str, str, str]:
    return skill.id, skill.kind, ", ".join(skill.task_types) or "all", skill.title


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(terminal_safe(cell)) for cell in row))
    Console().print(table)


def _say(message: str) -> None:
    """Print foreign text: neither brackets nor `:names:` nor escape sequences in it mean anything."""
    Console().print(Text(terminal_safe(message)), soft_wrap=True)
