"""Export of real and generated games to `.tw-pddl`, for ALFWorld's original engine.

The PDDL problem is written from the `Game`. Domain and grammar are those of the installed `alfworld` package, with the
task sentence inserted and sinks allowed for cleaning, as in the domain of the public games.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from sdar_gym.envs.alfworld.world import Game, GameFormatError, Goal, display_names
from sdar_gym.extras import require

# Constants in the actions of the domain, which the translator requires to be declared in every problem.
_RECEPTACLE_CONSTANTS = frozenset({"SinkBasinType", "MicrowaveType", "FridgeType"})
_OBJECT_CONSTANTS = frozenset({"KnifeType", "ButterKnifeType"})
# Real games declare it as an object type, although the domain uses it for receptacles.
_SINK = "SinkType"
# The only line that differs between the domains of the public games and of the package.
_SINK_LINE = f"(receptacleType ?r {_SINK})"
_TASK_PLACEHOLDER = "UNKNOWN GOAL."
# PDDL names that neither the translator nor the display names misinterpret.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Syntax characters of the grammar, whose expressions run as Python: not allowed in a task sentence.
_GRAMMAR_CHARACTERS = frozenset(';|"<>[]#{}\\')


def to_tw_pddl(game: Game) -> str:
    """Convert a game to the text of a `.tw-pddl` file.

    `parse_game` restores a game with equal fingerprint and walkthrough.

    Args:
        game: Any game.

    Raises:
        MissingExtraError: The `alfworld` package, whose domain and grammar are needed, is not installed.
        GameFormatError: A name or the task sentence is not valid in PDDL or the grammar.
    """
    require("alfworld", "Writing a .tw-pddl file")
    _check_names(game)
    domain, grammar = _domain(), _grammar(game)
    content = {
        "pddl_domain": domain,
        "grammar": grammar,
        "pddl_problem": _problem(game),
        "solvable": bool(game.walkthrough),
        "walkthrough": list(game.walkthrough),
    }
    return json.dumps(content)


def _data_file(name: str) -> str:
    # Without an import of the package, which sets ALFWORLD_DATA and creates a folder in the user's home.
    spec = find_spec("alfworld")
    assert spec is not None and spec.submodule_search_locations  # require() has seen it
    return (Path(spec.submodule_search_locations[0]) / "data" / name).read_text(encoding="utf-8")


def _domain() -> str:
    domain = _data_file("alfred.pddl")
    if _SINK_LINE not in domain:
        raise GameFormatError(f"The installed alfworld's domain lacks the line {_SINK_LINE!r}; install alfworld 0.4.")
    return domain.replace(f";{_SINK_LINE}", _SINK_LINE)


def _grammar(game: Game) -> str:
    strange = sorted(set(game.task) & _GRAMMAR_CHARACTERS)
    if strange or not game.task.isprintable():
        raise GameFormatError(
            f"The task sentence of {game.task_id} cannot stand in a grammar: {game.task!r}. "
            f"Take out {' '.join(strange) or 'control characters'}."
        )
    grammar = _data_file("alfred.twl2")
    if grammar.count(_TASK_PLACEHOLDER) != 1:
        raise GameFormatError(
            f"The installed alfworld's grammar has no place for a task ({_TASK_PLACEHOLDER!r}); install alfworld 0.4."
        )
    return grammar.replace(_TASK_PLACEHOLDER, game.task)


def _check_names(game: Game) -> None:
    ids = [r.id for r in game.receptacles] + [o.id for o in game.objects]
    types = [r.type for r in game.receptacles] + [o.type for o in game.objects if o.type]
    types += [name for pair in game.can_contain for name in pair]
    for name in ids + types:
        if not _NAME.fullmatch(name):
            raise GameFormatError(f"{name!r} in {game.task_id} is not a PDDL name: use letters, digits and '_'.")
    for id_ in ids:
        base, separator, _ = id_.lower().partition("_bar_")
        if not separator or base.endswith("basin"):
            raise GameFormatError(
                f"The id {id_!r} in {game.task_id} does not have ALFRED's format '<Type>_bar_<rest>', with the word "
                "'basin' in the rest only."
            )
    if len({id_.lower() for id_ in ids}) != len(ids):
        raise GameFormatError(f"Two things of {game.task_id} have the same id; PDDL ignores case.")
    names = [r.name for r in game.receptacles] + [o.name for o in game.objects]
    if list(display_names(ids).values()) != [dict(zip(ids, names, strict=True))[id_] for id_ in display_names(ids)]:
        raise GameFormatError(f"Receptacles and objects of {game.task_id} share a type, and so would share numbers.")


def _problem(game: Game) -> str:
    declarations = "\n".join(_declarations(game))
    facts = "\n".join(f"({fact})" for fact in _facts(game))
    name = re.sub(r"\W+", "_", game.task_id, flags=re.ASCII)
    return (
        f"(define (problem game_{name})\n(:domain alfred)\n(:objects\n{declarations}\n)\n"
        f"(:init\n{facts}\n)\n(:goal\n{_goal(game.goal)}\n)\n)\n"
    )


def _declarations(game: Game) -> Iterator[str]:
    receptacle_types = {r.type for r in game.receptacles} | {accepting for accepting, _ in game.can_contain}
    object_types = {o.type for o in game.objects if o.type} | {accepted for _, accepted in game.can_contain}
    receptacle_types |= _RECEPTACLE_CONSTANTS | ({game.goal.receptacle_type} - {""})
    object_types |= _OBJECT_CONSTANTS | {game.goal.object_type} | ({game.goal.lamp_type} - {""})
    if _SINK not in receptacle_types:
        object_types.add(_SINK)
    both = sorted(receptacle_types & object_types)
    if both:
        raise GameFormatError(f"{game.task_id} uses {both[0]!r} as the type of a receptacle and of an object.")
    yield "agent1 - agent"
    for index in range(max([game.start, *_places(game)]) + 1):
        yield f"{_place(index)} - location"
    for kind, names in (
        ("rtype", sorted(receptacle_types)),
        ("otype", sorted(object_types)),
        ("receptacle", [r.id for r in game.receptacles]),
        ("object", [o.id for o in game.objects]),
    ):
        for name in names:
            yield f"{name} - {kind}"


def _facts(game: Game) -> Iterator[str]:
    yield f"atLocation agent1 {_place(game.start)}"
    for accepting, accepted in sorted(game.can_contain):
        yield f"canContain {accepting} {accepted}"
    for receptacle in game.receptacles:
        yield f"receptacleType {receptacle.id} {receptacle.type}"
        yield f"receptacleAtLocation {receptacle.id} {_place(receptacle.location)}"
        if receptacle.openable:
            yield f"openable {receptacle.id}"
        if receptacle.opened:
            yield f"opened {receptacle.id}"
    for thing in game.objects:
        if thing.type:
            yield f"objectType {thing.id} {thing.type}"
        for predicate in sorted(thing.flags | thing.states):
            yield f"{predicate} {thing.id}"
        for index in thing.inside:
            yield f"inReceptacle {thing.id} {game.receptacles[index].id}"
        for place in thing.locations:
            yield f"objectAtLocation {thing.id} {_place(place)}"
        for inner in thing.holds:
            yield f"inReceptacleObject {game.objects[inner].id} {thing.id}"


def _goal(goal: Goal) -> str:
    if goal.kind == "light":
        return (
            "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location)\n"
            f"(and (objectType ?ot {goal.lamp_type}) (toggleable ?ot) (isToggled ?ot)\n"
            "(receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))\n"
            f"(exists (?o - object ?a - agent) (and (objectType ?o {goal.object_type}) (holds ?a ?o))))"
        )
    variables = [f"?o{number}" for number in range(1, goal.count + 1)]
    atoms = [f"(receptacleType ?r {goal.receptacle_type})"]
    for variable in variables:
        atoms += [f"(objectType {variable} {goal.object_type})", f"(inReceptacle {variable} ?r)"]
        atoms += [f"({predicate} {variable})" for predicate in sorted(goal.states | goal.requires)]
    atoms += [f"(not (= {one} {other}))" for i, one in enumerate(variables) for other in variables[i + 1 :]]
    declared = " ".join(f"{variable} - object" for variable in variables)
    return f"(exists (?r - receptacle {declared})\n(and {' '.join(atoms)}))"


def _places(game: Game) -> Iterator[int]:
    for receptacle in game.receptacles:
        yield receptacle.location
    for thing in game.objects:
        yield from thing.locations


def _place(index: int) -> str:
    return f"loc_bar_{index}"
