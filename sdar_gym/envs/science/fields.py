"""Fields of a row: texts, levels, options and keys, with errors that name file, row and field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdar_gym.envs.problems.problem import ProblemFormatError
from sdar_gym.envs.science.problem import Option
from sdar_gym.skills.index.rows import as_text, kind_of, plain
from sdar_gym.text import well_formed

_LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def text_of(row: Mapping[str, Any], field: str, where: str, numbers: bool = False) -> str:
    """A text, empty if it is missing; a number as text, if one is expected there."""
    value = plain(row.get(field))
    if value is None:
        return ""
    if numbers and isinstance(value, float):
        value = repr(value)
    text = as_text(value) if numbers or isinstance(value, str) else None
    if text is None:
        raise ProblemFormatError(f"{where}: `{field}` must be a text, found {kind_of(value)}.")
    return text.strip()


def level_of(details: Mapping[str, Any], where: str) -> int | None:
    """The level of `details`, a number; None without one."""
    value = details.get("level")
    if value is None:
        return None
    text = str(value).strip().upper().removeprefix("L")
    if text not in ("1", "2", "3", "4", "5"):
        raise ProblemFormatError(f"{where}: `details.level` must be L1 to L5, found {kind_of(value)}.")
    return int(text)


def options_of(row: Mapping[str, Any], where: str) -> tuple[Option, ...]:
    """The options of `choices`: an object with `text` and `label`, or a list of texts, which are labeled from A."""
    choices = plain(row.get("choices"))
    if isinstance(choices, dict):
        texts, labels = plain(choices.get("text")), plain(choices.get("label"))
    else:
        texts, labels = choices, None
    if not isinstance(texts, list) or not texts or any(as_text(plain(text)) is None for text in texts):
        raise ProblemFormatError(f"{where}: `choices` must be a list of texts, found {kind_of(choices)}.")
    if labels is None:
        labels = list(_LABELS[: len(texts)])
    if not isinstance(labels, list) or len(labels) != len(texts) or len({*map(str, labels)}) < len(labels):
        raise ProblemFormatError(
            f"{where}: `choices` needs a label for each text, found {len(texts)} texts and labels {kind_of(labels)}."
        )
    return tuple(
        Option(well_formed(str(label)).strip(), (as_text(plain(text)) or "").strip())
        for label, text in zip(labels, texts, strict=True)
    )


def key_of(answer: str, options: tuple[Option, ...], where: str, field: str) -> str:
    """The label that an answer names, by label or by text."""
    for option in options:
        if answer.casefold() == option.label.casefold():
            return option.label
    for option in options:
        if answer and answer == option.text:
            return option.label
    labels = ", ".join(option.label for option in options)
    raise ProblemFormatError(f"{where}: `{field}` must be one of {labels}, found {answer!r}.")
