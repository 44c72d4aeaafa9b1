"""Constructive planner: finds a plan that wins a game from its full state."""

from __future__ import annotations

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.world import Game, GameFormatError, Goal
from sdar_gym.text import shortened

_CHANGES = {"isClean": ("clean", ("SinkBasinType", "SinkType")), "isHot": ("heat", ("MicrowaveType",)),
            "isCool": ("cool", ("FridgeType",))}  # fmt: skip


def walkthrough(game: Game) -> tuple[str, ...]:
    """Commands that win the game, without commands after the win.

    Raises:
        GameFormatError: The goal cannot be satisfied.
    """
    engine = Engine(game)
    plan: list[str] = []

    def do(command: str) -> None:
        _, admissible = engine.act(command)
        if not admissible:
            raise GameFormatError(
                f"Game {game.task_id} cannot be won: {command!r} is not admissible after {shortened(plan)}."
            )
        plan.append(command)

    def go(index: int, *, opened: bool) -> None:
        receptacle = game.receptacles[index]
        if engine.place != receptacle.location:
            do(f"go to {receptacle.name}")
        if opened and receptacle.openable and index not in engine.opened:
            do(f"open {receptacle.name}")

    def fetch(goal: Goal, taken: set[int], target: int | None) -> int:
        thing, index = next(
            (
                (thing, index)
                for thing, entry in enumerate(game.objects)
                if entry.type == goal.object_type
                and "pickupable" in entry.flags
                and goal.requires <= entry.flags
                and thing not in taken
                for index in sorted(_receptacles_of(engine, thing))
                # An object in the target is only useful if it must be changed first.
                if index != target or goal.states
            ),
            (None, None),
        )
        if thing is None or index is None:
            raise GameFormatError(f"Game {game.task_id} cannot be won: no {goal.object_type} to take.")
        go(index, opened=True)
        do(f"take {game.objects[thing].name} from {game.receptacles[index].name}")
        return thing

    goal = game.goal
    if goal.kind == "light":
        fetch(goal, set(), None)
        lamp = next((o for o in game.objects if o.type == goal.lamp_type and o.inside), None)
        if lamp is None:
            raise GameFormatError(f"Game {game.task_id} cannot be won: no {goal.lamp_type} stands anywhere.")
        go(lamp.inside[0], opened=False)
        do(f"use {lamp.name}")
        return tuple(plan)

    target = next((i for i, r in enumerate(game.receptacles) if r.type == goal.receptacle_type), None)
    if target is None:
        raise GameFormatError(f"Game {game.task_id} cannot be won: no {goal.receptacle_type}.")
    taken: set[int] = set()
    for _ in range(goal.count):
        thing = fetch(goal, taken, target)
        taken.add(thing)
        name = game.objects[thing].name
        for state in sorted(goal.states):
            verb, appliances = _CHANGES[state]
            index = next((i for i, r in enumerate(game.receptacles) if r.type in appliances), None)
            if index is None:
                raise GameFormatError(f"Game {game.task_id} cannot be won: nothing to {verb} with.")
            go(index, opened=False)
            do(f"{verb} {name} with {game.receptacles[index].name}")
        go(target, opened=True)
        do(f"move {name} to {game.receptacles[target].name}")
    return tuple(plan)


def _receptacles_of(engine: Engine, thing: int) -> list[int]:
    """Receptacles that contain an object now."""
    return [index for index, things in enumerate(engine.inside) if thing in things]
