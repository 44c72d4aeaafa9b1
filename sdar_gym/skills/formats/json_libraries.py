"""Importers of published JSON libraries: skill banks (SkillRL, SDAR) and episode memories.

A skill bank is an object with `general_skills`, memories are a list of objects with `memory_id`. Nothing is dropped
silently: an unknown key, an empty text or an id that occurs twice is an error that names its place.
"""

from __future__ import annotations

import re
from pathlib import Path

from sdar_gym.skills.formats.json_node import JsonNode, parse_json, unique_skills
from sdar_gym.skills.formats.published_types import with_local_types
from sdar_gym.skills.formats.text_files import SkillFormatError, read_bytes
from sdar_gym.skills.skill import ADVICE, MISTAKE, Skill

# Task type of a memory without one: not general, or every prompt would hold all memories.
MEMORY = "memory"
# Memories use ALFWorld's type names except for this one; they separate one object from two, which skill banks do not.
_MEMORY_TYPES = {"pick_and_place": ("pick_and_place", "pick_and_place_simple")}
_SECTIONS = ("task_specific_skills", "query_type_skills")
_BANK_KEYS = frozenset({"general_skills", *_SECTIONS, "common_mistakes", "metadata"})
_CLASSIFIED = re.compile(r"classified as '(\w+)'")


def read_json_file(path: Path, env: str) -> tuple[Skill, ...]:
    """Read a JSON file: a skill bank or memories.

    Args:
        path: The file.
        env: Environment the skills are for.

    Raises:
        SkillFormatError: It is neither, or damaged.
    """
    where = path.name
    node = parse_json(read_bytes(path, where), where)
    content = node.value
    if isinstance(content, dict) and "general_skills" in content:
        skills = _bank(node, env)
    elif isinstance(content, list) and content and isinstance(content[0], dict) and "memory_id" in content[0]:
        skills = [_memory(memory, env) for memory in node.items()]
    elif isinstance(content, dict) and "skill_files" in content:
        raise SkillFormatError(f"{where}: this lists the files of a library; give the folder that it is in.")
    else:
        raise SkillFormatError(
            f"{where}: neither a skill bank (an object with 'general_skills') nor memories (a list of objects with "
            "'memory_id'). Skills of your own are easiest to write as Markdown; docs/skills.md shows how."
        )
    return unique_skills(skills, where)


def _bank(bank: JsonNode, env: str) -> list[Skill]:
    bank.only(_BANK_KEYS)
    skills = [_bank_skill(node, env, ()) for node in bank.get("general_skills").items()]
    for section in _SECTIONS:
        if section in bank.members():
            for task_type, nodes in bank.get(section).members().items():
                skills += [_bank_skill(node, env, with_local_types(task_type)) for node in nodes.items()]
    if "common_mistakes" in bank.members():
        for node in bank.get("common_mistakes").items():
            what, why = node.get("description").text(), node.get("why_it_happens").text()
            text = f"Avoid this: {what} Instead: {node.get('how_to_avoid').text()}"
            skills.append(Skill(node.id("mistake_id"), _title(what), text, why, env, (), bank.where, (), MISTAKE))
    return skills


def _bank_skill(node: JsonNode, env: str, types: tuple[str, ...]) -> Skill:
    title, when = node.get("title").text(), node.get("when_to_apply").text()
    return Skill(node.id("skill_id"), title, node.get("principle").text(), when, env, types, node.where)


def _memory(node: JsonNode, env: str) -> Skill:
    described = node.get("contextual_description").text()
    content = node.get("content")
    goal = content.get("task_meta").get("original_goal").text()
    # Some files nest either part once more under the same key.
    advice = content.get("strategic_guidelines").unwrapped("strategic_guidelines")
    lines: list[str] = []
    if advice.has("planning_pattern"):
        lines.append(f"What worked: {advice.get('planning_pattern').text()}")
    if content.has("refined_trajectory"):
        steps = content.get("refined_trajectory").unwrapped("refined_trajectory")
        lines += [f"{number}. {step.get('action').text()}" for number, step in enumerate(steps.items(), start=1)]
    worked = bool(lines)
    for mistake in advice.get("mistakes_to_avoid").items():
        lines.append(f"Avoid: {mistake.get('bad_action').text()} When: {mistake.get('trigger_condition').text()}")
    tags = node.get("tags")
    classified = _CLASSIFIED.search(described)
    if "data_source" in tags.members():
        source = tags.get("data_source").text()
    else:
        source = classified[1] if classified else MEMORY
    types = _MEMORY_TYPES.get(source, (source,))
    kind = ADVICE if worked else MISTAKE
    text = "\n".join(lines) or described
    return Skill(node.id("memory_id"), _title(goal), text, goal, env, types, node.where, (), kind)


def _title(text: str) -> str:
    """The beginning of a text, as a title."""
    return text if len(text) <= 70 else text[:70].rsplit(" ", 1)[0] + " …"
