"""Control libraries: a library with the texts of another task type, without content, or about something else.

Without these controls it is not shown that skills help: a longer prompt, its heading, or any text at all could.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path

from sdar_gym.skills.library import SkillLibrary, load_library
from sdar_gym.skills.skill import Skill

EMPTY_TEXT = "(no advice)"
# About something that no environment has.
_UNRELATED = (
    "The tide follows the moon. Twice a day the water climbs the harbor wall and leaves it again, and sailors read the "
    "hour from the wet stones. In spring the storms are short; in autumn they last for days. Old charts show islands "
    "that nobody has seen since, and lighthouses that were moved inland when the coast gave way."
)
_LIBRARY_WITH_CONTROL = re.compile(r"(?:(?P<library>.+):)?(?P<control>wrong|mixed|empty|irrelevant)")


def control_library(library: SkillLibrary, control: str) -> SkillLibrary:
    """A library whose specific skills have other texts; ids, titles, task types and the words for search stay.

    - `wrong`: each task type gets the texts of the next one, in alphabetical order; the last one those of the first. A
      skill for all types keeps its text.
    - `mixed`: half of the task types, of an odd number the smaller half, get what `wrong` gives them, the others keep
      their texts. Wrong are those whose names come first in the order of their SHA-256.
    - `empty`: every text is a placeholder.
    - `irrelevant`: every text is replaced by as many words about something else.

    Args:
        library: The right one.
        control: One of these.

    Raises:
        ValueError: Unknown control, or `wrong` or `mixed` for a library with fewer than two task types.
    """
    if control not in _CONTROLS:
        raise ValueError(f"Unknown control {control!r} of a skill library; choose {', '.join(_CONTROLS)}.")
    texts = _CONTROLS[control](library)
    skills = [replace(skill, text=texts[skill.id]) if skill.id in texts else skill for skill in library]
    return SkillLibrary(f"{library.name}:{control}", tuple(skills), library.version)


def library_of(setting: str | None, own: str | None) -> SkillLibrary | None:
    """The library that the setting `skills.library` names.

    Args:
        setting: A name, a path, a control of the environment's own library (`wrong`), or of another one
            (`alfworld:wrong`); None for the environment's own.
        own: The environment's own library.

    Returns:
        The library; None if there is none.

    Raises:
        ValueError: There is no such library, or nothing that it could be a control of.
    """
    library, control = split_control(setting) if setting else (None, None)
    name = library or own
    if control is None:
        return None if name is None else load_library(name)
    if name is None:
        raise ValueError(f"skills.library={setting!r} is a control of the environment's own library, and it has none.")
    return control_library(load_library(name), control)


def split_control(setting: str) -> tuple[str | None, str | None]:
    """The library and the control in a setting such as `alfworld:wrong`; None for what it does not name.

    Args:
        setting: The value of `skills.library`. A folder or a library of that name comes first.
    """
    match = _LIBRARY_WITH_CONTROL.fullmatch(setting)
    if match is None or (match["library"] is None and Path(setting).exists()):
        return setting, None
    return match["library"], match["control"]


def _specific(library: SkillLibrary) -> list[Skill]:
    return [skill for skill in library if not skill.is_general]


def _wrong(library: SkillLibrary) -> Mapping[str, str]:
    types = sorted(library.task_types)
    if len(types) < 2:
        raise ValueError(f"Library {library.name!r} has skills for {len(types)} task type(s): none can get another's.")
    texts: dict[str, str] = {}
    for place, task_type in enumerate(types):
        later = [*types[place + 1 :], *types[:place]]
        for number, skill in enumerate(library.for_task_type(task_type)):
            # A skill may be for several types: the next one that it is not for.
            other = next((each for each in later if not skill.applies_to(each)), None)
            if other is not None and skill.id not in texts:
                others = library.for_task_type(other)
                texts[skill.id] = others[number % len(others)].text
    return texts


def _mixed(library: SkillLibrary) -> Mapping[str, str]:
    wrong, misled = _wrong(library), misled_types(library)
    # A skill for several types counts for the first of them.
    return {each.id: wrong[each.id] for each in _specific(library) if each.id in wrong and each.task_types[0] in misled}


def misled_types(library: SkillLibrary) -> tuple[str, ...]:
    """The task types that have another type's texts in the control `mixed`.

    Args:
        library: The right one.
    """
    hashed = sorted(library.task_types, key=lambda name: sha256(name.encode("utf-8", "replace")).digest())
    return tuple(sorted(hashed[: len(hashed) // 2]))


def _empty(library: SkillLibrary) -> Mapping[str, str]:
    return {skill.id: EMPTY_TEXT for skill in _specific(library)}


def _irrelevant(library: SkillLibrary) -> Mapping[str, str]:
    words = _UNRELATED.split()
    return {skill.id: " ".join(islice(cycle(words), len(skill.text.split()))) for skill in _specific(library)}


_CONTROLS: Mapping[str, Callable[[SkillLibrary], Mapping[str, str]]] = {
    "wrong": _wrong,
    "mixed": _mixed,
    "empty": _empty,
    "irrelevant": _irrelevant,
}
