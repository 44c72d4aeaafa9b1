"""Importer of SDAR's skill folders: numbered Markdown files and `skill_mapping.json`."""

from __future__ import annotations

import re
from pathlib import Path

from sdar_gym.skills.formats.json_node import parse_json, plain_id, unique_skills
from sdar_gym.skills.formats.published_types import with_local_types
from sdar_gym.skills.formats.text_files import decode_lines, line_error, read_bytes
from sdar_gym.skills.skill import Skill
from sdar_gym.text import shortened

MAPPING = "skill_mapping.json"
_MAPPING_KEYS = frozenset({"skill_files", "task_to_skill", "task_keywords"})
_ITEM = re.compile(r"(?P<number>\d+)\. (?P<title>[^:]+): (?P<body>\S.*)")


def read_sdar_folder(folder: Path, env: str) -> tuple[Skill, ...]:
    """Read a folder with `skill_mapping.json`: the skills in the order of its `skill_files`.

    A file holds numbered items, `1. Title: advice. Apply this when …`. The text of a skill is the whole item, as the
    published teacher reads it; its last sentence says when to use it. The words in `task_keywords` become keywords.
    Files that the mapping does not name are not read.

    Args:
        folder: The folder.
        env: Environment the skills are for.

    Raises:
        SkillFormatError: The mapping or a file is damaged.
    """
    where = f"{folder.name}/{MAPPING}"
    mapping = parse_json(read_bytes(folder / MAPPING, where), where)
    mapping.only(_MAPPING_KEYS)
    routes = {task: node.text() for task, node in mapping.get("task_to_skill").members().items()}
    words: dict[str, list[str]] = {}
    if "task_keywords" in mapping.members():
        named = mapping.get("task_keywords").members()
        words = {task: [word.text() for word in node.items()] for task, node in named.items()}
    skills: list[Skill] = []
    files = mapping.get("skill_files").members()
    for task, name in routes.items():
        if name not in files:
            raise mapping.error(
                f"{task!r} is sent to {name!r}, which is none of the skill_files.", f"task_to_skill.{task}"
            )
    for name, node in files.items():
        file = node.text()
        if "\x00" in file or Path(file).name != file or not (folder / file).is_file():
            raise node.error(f"there is no file {shortened(file)} in {folder.name}.")
        tasks = [task for task, target in routes.items() if target == name]
        types = () if name == "general_skills" else with_local_types(*tasks, name)
        keywords = tuple(dict.fromkeys(word for task in tasks for word in words.get(task, ())))
        skills += _numbered(folder / file, f"{folder.name}/{file}", name, env, types, keywords)
    return unique_skills(skills, where)


def _numbered(
    path: Path, where: str, name: str, env: str, types: tuple[str, ...], keywords: tuple[str, ...]
) -> list[Skill]:
    items: list[tuple[int, re.Match[str], list[str]]] = []
    for number, line in enumerate(decode_lines(read_bytes(path, where), where), start=1):
        found = _ITEM.fullmatch(line.strip())
        if found:
            items.append((number, found, [found["body"]]))
        elif re.match(r"\d+\.(\s|$)", line.strip()):
            raise line_error(where, number, f"{line.strip()[:60]!r} is not 'number. Title: advice'.")
        elif items and line.strip():
            items[-1][2].append(line.strip())
    if not items:
        raise line_error(where, 1, "there is no item of the form '1. Title: advice'.")
    skills = []
    for number, found, lines in items:
        body = " ".join(lines)
        advice, apply, when = body.rpartition("Apply this ")
        title, skill_id = found["title"].strip(), f"{plain_id(name)}.{found['number']}"
        if apply and not advice.strip():
            raise line_error(where, number, "the item says when to apply it and nothing else.")
        text = f"{title}: {body}"
        skills.append(Skill(skill_id, title, text, when if apply else title, env, types, where, keywords))
    return skills
