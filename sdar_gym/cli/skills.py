"""`sdar-gym skills`: list, search and measure skill libraries, and add skills to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from sdar_gym.cli.terminal import Terminal, table
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
)
from sdar_gym.skills.formats.markdown_writer import check_target
from sdar_gym.skills.formats.sdar_folder import MAPPING
from sdar_gym.skills.growth.deduplicate import most_similar
from sdar_gym.skills.growth.episode_reader import TRAIN, read_episodes
from sdar_gym.skills.growth.extract import extract_skills


def list_command(name: str | None) -> None:
    """List the built-in libraries, or the skills of one library."""
    if name is None:
        rows = [
            (library.name, str(len(library)), ", ".join(library.task_types))
            for library in map(SkillLibrary.builtin, builtin_libraries())
        ]
        Terminal().print(table(("library", "skills", "task types"), rows))
        return
    Terminal().print(table(("id", "kind", "task types", "title"), map(_row, load_library(name))))


def search_command(
    name: str, goal: str, strategy: str, k: int, backend: str, task_type: str, general: bool, text: bool
) -> None:
    """Show the skills that a strategy retrieves for a task, with their scores."""
    terminal = Terminal()
    library = load_library(name)
    retriever = make_retriever(strategy, library, k=k, include_general=general, backend=backend)
    found = retriever.retrieve(SkillQuery(library.name, task_type, goal))
    if text:
        terminal.tell(found.text)
        return
    if not found.skills:
        terminal.tell("Nothing found.")
        return
    rows = [(f"{scored.score:.3f}", *_row(scored.skill)) for scored in found.skills]
    terminal.print(table(("score", "id", "kind", "task types", "title"), rows))


def stats_command(name: str) -> None:
    """Show the sizes of a library, its fingerprint, and its two most similar skills."""
    library = load_library(name)
    counts = Counter(task_type for skill in library for task_type in skill.task_types)
    words = [len(skill.text.split()) for skill in library]
    closest = max(_similarities(library), default=None)
    rows = [
        ("library", f"{library.name}, version {library.version}"),
        ("fingerprint", library.fingerprint()),
        ("skills", str(len(library))),
        ("general", str(len(library.general()))),
        ("general mistakes", str(len(library.mistakes()))),
        *((task_type, str(count)) for task_type, count in counts.items()),
        ("words per skill", f"{mean(words):.1f} on average, {max(words)} at most" if words else "-"),
        ("most similar", f"{closest[1]} and {closest[2]} ({closest[0]:.2f})" if closest else "-"),
    ]
    Terminal().print(table(("", ""), rows, show_header=False))


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
    """Add skills to a library, from another library or from the episodes of a run, and save it.

    Args:
        target: The library.
        source: Another library, a run folder, or a file of episodes.
        output: Folder for the result; None saves in place.
        env: Environment of the skills.
        min_mistakes: See `sdar_gym.skills.growth.extract.extract_skills`.
        duplicates: Whether duplicates of the library's skills are added, too.
        splits: Splits of the episodes to learn from.
        with_model: Model that writes the candidates; None extracts them by rules.

    Raises:
        ValueError: The library cannot be saved in place, or nothing in the source can be added.
    """
    terminal = Terminal()
    builtin = target in builtin_libraries()
    place = Path(target) if builtin else local_path("The skill library", target)
    folder = place if output is None else local_path("--output", output)
    source = local_path("The source", source)
    if builtin and output is None:
        raise ValueError(f"{target!r} comes with the package; say --output FOLDER for the library with the new skills.")
    if output is None and (folder.is_file() or (folder / MAPPING).exists()):
        raise ValueError(f"{target} is in a published form, which is read only; say --output FOLDER.")
    # Fail fast: a model may write for minutes.
    check_target(folder, overwrite=output is None)
    exists = builtin or place.exists()
    library = load_library(target, env=env) if exists else SkillLibrary(folder.name, ())
    library = SkillLibrary(library.name, library.skills, library.version)
    skill_env = env or next((skill.env for skill in library), library.name)
    added = 0
    candidates, left_out = _candidates(source, skill_env, min_mistakes, splits, with_model)
    for skill in candidates:
        if skill.id in library:
            left_out.append(f"Library {library.name!r} has a skill with the id {skill.id!r} already.")
            continue
        try:
            library.add(replace(skill, env=skill_env), **({"duplicate_above": None} if duplicates else {}))
            added += 1
        except DuplicateSkillError as error:
            left_out.append(str(error))
    for message in left_out:
        terminal.tell(message)
    if not added:
        raise ValueError(f"Nothing in {source} is new to {library.name!r}; {len(left_out)} skill(s) were left out.")
    library.save(folder, overwrite=output is None)
    terminal.tell(
        f"{added} added, {len(left_out)} left out; {len(library)} skills, version {library.version}, in {folder}."
    )


def _candidates(
    source: Path, env: str, min_mistakes: int, splits: Sequence[str], with_model: str | None
) -> tuple[tuple[Skill, ...], list[str]]:
    """The candidates, and a message for each response that was rejected."""
    if source.suffix == ".jsonl" or (source / "episodes").is_dir():
        episodes = read_episodes(source, splits)
        # Runs of one configuration differ by their parent folder; the whole path is private.
        origin = f"run {'/'.join(source.resolve().parts[-2:])}"
        if with_model is None:
            return extract_skills(episodes, env=env, origin=origin, min_mistakes=min_mistakes), []
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
    from sdar_gym.rollout.chat_engine import ChatEngine
    from sdar_gym.rollout.engines.base import SamplingParams
    from sdar_gym.rollout.engines.transformers_engine import engine_of
    from sdar_gym.skills.growth.llm_writer import refuse_unfit, write_skills

    quiet()
    tokenizer = load_tokenizer(model_name)
    refuse_unfit(model_name, tokenizer)  # before the weights are loaded
    model = load_model(model_name, "auto")
    torch.nn.Module.to(model, choose_device("auto"))
    # A reasoning model would spend all the tokens of its response on reasoning.
    kwargs = {"enable_thinking": False}
    chat = ChatEngine(engine_of(model, tokenizer), tokenizer, SamplingParams(1024, 0.7), kwargs)
    written = write_skills(chat, episodes, model=model_name, env=env, origin=origin)
    messages = [
        f"The response of {model_name} for {rejected.task_type!r} was rejected: {rejected.reason}."
        for rejected in written.rejected
    ]
    return written.skills, messages


def _similarities(library: SkillLibrary) -> Iterator[tuple[float, str, str]]:
    """Each skill's similarity to the skill most similar to it, and both ids."""
    for skill in library:
        others = [other for other in library if other.id != skill.id]
        yield from ((similarity, skill.id, other) for other, similarity in most_similar(skill, others))


def _row(skill: Skill) -> tuple[str, str, str, str]:
    return skill.id, skill.kind, ", ".join(skill.task_types) or "all", skill.title
