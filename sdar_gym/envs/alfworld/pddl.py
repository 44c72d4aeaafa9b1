"""Parser of `.tw-pddl` game files, which does not evaluate the code in them.

A `.tw-pddl` file is JSON with the PDDL domain, the PDDL problem, a stored walkthrough, and a grammar that upstream
passes to `eval`. Domain and grammar are the same in all ALFWorld games except for the task sentence, which is extracted
from the grammar as text.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sdar_gym.envs.alfworld.game_source import json_object, shown
from sdar_gym.envs.alfworld.world import (
    OBJECT_FLAGS,
    OBJECT_STATES,
    TASK_TYPES,
    Game,
    GameFormatError,
    Goal,
    Object,
    Receptacle,
    display_names,
    shared,
)
from sdar_gym.text import shortened, well_formed

_TASK_SENTENCE = re.compile(r'"rhs"\s*:\s*"Your task is to: ((?:[^"\\]|\\.)*)"')
_FACT = re.compile(r"\(([^\s()]+)((?:\s+[^\s()]+)*)\s*\)")
# Maximum length of a name; the longest real id has 70 characters.
_LONGEST_NAME = 200
# Object property that each state requires.
_STATE_NEEDS = {"isHot": "heatable", "isCool": "coolable", "isClean": "cleanable", "isSliced": "sliceable"}
_CONDITIONS = frozenset({*OBJECT_STATES, *_STATE_NEEDS.values()})
_PLACE_ATOMS = frozenset({"objectType", "receptacleType", "inReceptacle", "="}) | _CONDITIONS
_LIGHT_ATOMS = frozenset(
    {"objectType", "toggleable", "isToggled", "receptacleAtLocation", "atLocation", "inReceptacle", "holds"}
)
# Logic that would change the meaning of the same atoms; `not` may only precede `=`.
_OTHER_LOGIC = re.compile(r"\(\s*(?:or|forall|imply|when)\b|\(\s*not\s*\((?!\s*=)")


def parse_game(content: str | bytes, task_id: str, origin: str) -> Game:
    """Parse a game.

    Args:
        content: Text of a `.tw-pddl` file.
        task_id: `<split>/<task>/<trial>`.
        origin: Name of the file in messages.

    Raises:
        GameFormatError: The file is damaged, or its world or goal is not one of ALFWorld's.
    """
    origin = shown(origin)
    remedy = "Download it again, or take it out of the folder."
    try:
        fields = json_object(content)
        missing = [name for name in ("pddl_problem", "grammar") if name not in fields]
        if missing:
            raise GameFormatError(f"it has no field {missing[0]!r}")
    except GameFormatError as error:
        raise GameFormatError(f"{origin} is not a readable .tw-pddl game: {error}. {remedy}") from error
    try:
        problem, grammar = _text(fields, "pddl_problem"), _text(fields, "grammar")
        walkthrough = fields.get("walkthrough") or ()
        if not isinstance(walkthrough, list | tuple) or not all(isinstance(command, str) for command in walkthrough):
            raise GameFormatError("its walkthrough is not a list of texts")
        return _build(problem, _sentence(grammar), tuple(map(well_formed, walkthrough)), task_id)
    except GameFormatError as error:
        reason = str(error)
    except KeyError as error:
        reason = f"it mentions {shortened(error.args[0])} without declaring or placing it"
    except (ValueError, IndexError, TypeError):
        reason = "one of its facts has the wrong number of arguments"
    raise GameFormatError(f"{origin} does not describe a playable ALFWorld game: {reason}. {remedy}")


def _text(fields: dict[str, Any], name: str) -> str:
    if not isinstance(fields[name], str):
        raise GameFormatError(f"its {name} is not a text but {shortened(fields[name], 40)}")
    return well_formed(fields[name])


def _sentence(grammar: str) -> str:
    found = _TASK_SENTENCE.search(grammar)
    if found is None:
        raise GameFormatError("its grammar has no task sentence")
    try:
        return well_formed(json.loads(f'"{found.group(1)}"'))
    except ValueError as error:
        raise GameFormatError(f"its task sentence is not a JSON string: {shortened(found.group(1))}") from error


def _section(problem: str, start: str) -> int:
    place = problem.find(start)
    if place < 0:
        raise GameFormatError(f"its problem has no section {start}")
    return place


def _declarations(section: str) -> Iterator[tuple[str, str]]:
    # Split into words: a regular expression would take quadratic time on a very long name.
    words = section.split()
    position = 1
    while position < len(words) - 1:
        if words[position] != "-":
            position += 1
            continue
        name, kind = words[position - 1], words[position + 1]
        if max(len(name), len(kind)) > _LONGEST_NAME:
            raise GameFormatError(f"it declares a name of more than {_LONGEST_NAME} letters: {shortened(name, 40)}")
        yield name, kind
        position += 3


def _build(problem: str, task: str, walkthrough: tuple[str, ...], task_id: str) -> Game:
    objects_at, init_at, goal_at = (_section(problem, start) for start in ("(:objects", "(:init", "(:goal"))
    declared: defaultdict[str, list[str]] = defaultdict(list)
    for name, kind in _declarations(problem[objects_at:init_at]):
        declared[kind].append(name)
    facts: defaultdict[str, list[list[str]]] = defaultdict(list)
    for predicate, arguments in _FACT.findall(problem, init_at + 1, goal_at):
        facts[predicate].append(arguments.split())

    # Type names are declared as objects, too; they are not part of the world.
    object_ids = sorted((id_ for id_ in declared["object"] if "_bar_" in id_), key=str.lower)
    receptacle_ids = sorted(declared["receptacle"], key=str.lower)
    if len(receptacle_ids) < 1 or not object_ids:
        raise GameFormatError("it declares no receptacles or no objects")
    if not facts["atLocation"]:
        raise GameFormatError("it does not say where the agent is")
    place_of = {id_: index for index, id_ in enumerate(declared["location"])}
    receptacle_index = {id_: index for index, id_ in enumerate(receptacle_ids)}
    object_index = {id_: index for index, id_ in enumerate(object_ids)}
    receptacle_type = {receptacle: type_ for receptacle, type_ in facts["receptacleType"]}
    object_type = {thing: type_ for thing, type_ in facts["objectType"]}
    receptacle_place = {receptacle: place_of[place] for receptacle, place in facts["receptacleAtLocation"]}
    having: dict[str, set[str]] = {
        predicate: {arguments[0] for arguments in facts[predicate]}
        for predicate in (*OBJECT_FLAGS, *OBJECT_STATES, "openable", "opened")
    }
    inside: defaultdict[str, list[int]] = defaultdict(list)
    for thing, receptacle in facts["inReceptacle"]:
        inside[thing].append(receptacle_index[receptacle])
    lying: defaultdict[str, list[int]] = defaultdict(list)
    for thing, place in facts["objectAtLocation"]:
        lying[thing].append(place_of[place])
    holding: defaultdict[str, list[int]] = defaultdict(list)
    for inner, outer in facts["inReceptacleObject"]:
        holding[outer].append(object_index[inner])

    receptacle_names, object_names = display_names(receptacle_ids), display_names(object_ids)
    task_type = next((t for t in TASK_TYPES if t in task_id), None)
    goal = _read_goal(problem[goal_at:])
    return Game(
        task_id=task_id,
        task_type=task_type or _task_type_of(goal),
        task=task,
        receptacles=tuple(
            Receptacle(
                id_, receptacle_type[id_], receptacle_names[id_], receptacle_place[id_],
                id_ in having["openable"], id_ in having["opened"],
            )
            for id_ in receptacle_ids
        ),
        objects=tuple(
            Object(
                id_,
                object_type.get(id_, ""),
                object_names[id_],
                shared(frozenset(flag for flag in OBJECT_FLAGS if id_ in having[flag])),
                shared(frozenset(state for state in OBJECT_STATES if id_ in having[state])),
                tuple(sorted(inside[id_])),
                tuple(sorted(lying[id_])),
                tuple(sorted(holding[id_])),
            )
            for id_ in object_ids
        ),
        can_contain=shared(frozenset((receptacle, thing) for receptacle, thing in facts["canContain"])),
        start=place_of[facts["atLocation"][0][1]],
        goal=goal,
        walkthrough=walkthrough,
    )  # fmt: skip


def _read_goal(section: str) -> Goal:
    """Parse one of ALFWorld's six goals (place one object, optionally changed; place two; examine in light)."""
    atoms: defaultdict[str, list[list[str]]] = defaultdict(list)
    for predicate, arguments in _FACT.findall(section.partition("(:metric")[0]):
        if not predicate.startswith("?"):  # a variable's declaration
            atoms[predicate].append(arguments.split())
    found = set(atoms)
    types: dict[str, str] = {variable: type_ for variable, type_ in atoms["objectType"]}
    count = len(types)
    if _OTHER_LOGIC.search(section) is None:
        if found == _LIGHT_ATOMS and count == 2:
            return Goal("light", types[atoms["holds"][0][1]], lamp_type=types[atoms["isToggled"][0][0]])
        if (
            {"objectType", "receptacleType", "inReceptacle"} <= found <= _PLACE_ATOMS
            and len(set(types.values())) == 1
            and len(atoms["="]) == count * (count - 1) // 2
            and all(len(atoms[condition]) == count for condition in found & _CONDITIONS)
        ):
            return _place_goal(atoms, next(iter(types.values())), count)
    raise GameFormatError(f"its goal is none of ALFWorld's six: {shortened(' '.join(section.split()), 200)}")


def _place_goal(atoms: defaultdict[str, list[list[str]]], object_type: str, count: int) -> Goal:
    return Goal(
        "place",
        object_type,
        receptacle_type=atoms["receptacleType"][0][1],
        states=frozenset(state for state in OBJECT_STATES if atoms[state]),
        requires=frozenset(need for need in _STATE_NEEDS.values() if atoms[need]),
        count=count,
    )


def _task_type_of(goal: Goal) -> str:
    if goal.kind == "light":
        return "look_at_obj_in_light"
    if goal.count > 1:
        return "pick_two_obj_and_place"
    verbs: dict[str, Any] = {"isHot": "heat", "isCool": "cool", "isClean": "clean"}
    for state, verb in verbs.items():
        if state in goal.states:
            return f"pick_{verb}_then_place_in_recep"
    return "pick_and_place_simple"
