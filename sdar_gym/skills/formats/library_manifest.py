"""`library.json`, the manifest of a saved library: its name, environment and version, and the order of its skills."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.skills.formats.text_files import SkillFormatError
from sdar_gym.skills.skill import Skill
from sdar_gym.text import shortened, well_formed

MANIFEST = "library.json"
_TYPES: dict[str, type] = {"name": str, "env": str, "version": int, "order": list}


def manifest_text(name: str, env: str, version: int, skills: Iterable[Skill]) -> str:
    """The contents of a manifest."""
    manifest = {"name": name, "env": env, "version": version, "order": [skill.id for skill in skills]}
    return json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"


def read_manifest(data: bytes, where: str) -> dict[str, Any]:
    """Parse and check a manifest; every key may be missing.

    Args:
        data: The file.
        where: Its name in messages.

    Raises:
        SkillFormatError: It is damaged.
    """
    try:
        content = json.loads(data)
    except (*DAMAGED, ValueError) as error:
        raise SkillFormatError(f"{where}: no JSON ({first_line(error)}); fix or delete the file.") from None
    if not isinstance(content, dict):
        raise SkillFormatError(f"{where}: this has to be an object, and is {type(content).__name__}.")
    for key, value in content.items():
        kind = _TYPES.get(key)
        if kind is None:
            raise SkillFormatError(f"{where}: unknown key {shortened(key)}; known here: {', '.join(_TYPES)}.")
        if not isinstance(value, kind) or value is True or (key == "version" and value < 1):
            wanted = "a number of at least 1" if kind is int else f"of type {kind.__name__}"
            raise SkillFormatError(f"{where}: {key!r} is {shortened(value)} and must be {wanted}; fix or delete it.")
    return {key: well_formed(value) if isinstance(value, str) else value for key, value in content.items()}


def in_order(skills: Iterable[Skill], order: Iterable[object], where: str) -> tuple[Skill, ...]:
    """Skills in the order of the manifest; those that it does not name come last, in the given order.

    Raises:
        SkillFormatError: It names a skill that does not exist, or one twice.
    """
    left = {skill.id: skill for skill in skills}
    first: list[Skill] = []
    for skill_id in order:
        if not isinstance(skill_id, str) or skill_id not in left:
            raise SkillFormatError(
                f"{where}: 'order' names {shortened(skill_id)}, which is in no file, or which it named before."
            )
        first.append(left.pop(skill_id))
    return (*first, *left.values())
