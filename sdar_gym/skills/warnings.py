"""Warns when retrieval returns no skill for the task type: a teacher without skills teaches nothing."""

from __future__ import annotations

import warnings

from sdar_gym.skills.retrieval import Retrieval, Retriever, SkillQuery
from sdar_gym.skills.strategies.base import LibraryRetriever
from sdar_gym.skills.strategies.controls import NoRetriever, RandomRetriever
from sdar_gym.text import shortened, terminal_safe


class SkillCoverageWarning(UserWarning):
    """Retrieval returned no skill for a task type."""


# Warned about in this process: environment, strategy, library and task type.
_WARNED: set[tuple[str, str, str, str]] = set()


def coverage_gap(retriever: Retriever, query: SkillQuery, found: Retrieval) -> str | None:
    """The warning message for a retrieval without a skill for the task's type.

    Args:
        retriever: The retriever.
        query: Its query.
        found: Its result.

    Returns:
        The message; None if there is such a skill, or if no skills were asked for (`none`).
    """
    if found.specific or retriever.name == NoRetriever.name:
        return None
    gap = (
        f"The retrieval strategy {retriever.name!r} found no skill written for the task type {query.task_type!r} of "
        f"{query.env!r}"
    )
    fix = "use the strategy 'none' if no skills are meant."
    if not isinstance(retriever, LibraryRetriever):
        return f"{gap}; the teacher gets general skills or none. Add skills of this type, or {fix}"
    library = retriever.library
    known = ", ".join(library.task_types) or "none"
    has = len(library.for_task_type(query.task_type))
    if has:
        return terminal_safe(
            f"{gap}, although the library {library.name!r} has {has} (here for the goal {shortened(query.goal)}). Use "
            f"the strategy 'oracle_type', raise k ({retriever.k}), or {fix}"
        )
    return terminal_safe(
        f"{gap}; the teacher gets general skills or none. The library {library.name!r} has skills for: {known}. Add "
        f"{query.task_type}.md to it, choose another library, or {fix}"
    )


def warn_once(retriever: Retriever, query: SkillQuery, found: Retrieval, *, stacklevel: int = 2) -> None:
    """Warn of a coverage gap, once per environment, strategy, library and task type in this process.

    `random` misses by design: it is warned about only where the library has no skill for the type.

    Args:
        retriever: The retriever.
        query: Its query.
        found: Its result.
        stacklevel: As in `warnings.warn`, seen from the caller.
    """
    message = coverage_gap(retriever, query, found)
    library = retriever.library if isinstance(retriever, LibraryRetriever) else None
    by_design = isinstance(retriever, RandomRetriever) and bool(retriever.library.for_task_type(query.task_type))
    key = (query.env, retriever.name, library.name if library is not None else "", query.task_type)
    if message is None or by_design or key in _WARNED:
        return
    _WARNED.add(key)
    warnings.warn(message, SkillCoverageWarning, stacklevel=stacklevel + 1)
