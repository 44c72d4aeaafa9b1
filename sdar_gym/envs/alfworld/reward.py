"""ALFRED's goal-condition success rate, for the current state of an ALFWorld game."""

from __future__ import annotations

from sdar_gym.envs.alfworld.engine import Engine


def goal_conditions(engine: Engine) -> tuple[int, int]:
    """Number of satisfied goal conditions, and their total; all are satisfied exactly when the game is won.

    Placing one object is one condition, placing two is two. Placing a changed object is one for an object of that type
    in the target, one for each required change of any such object, and one for a single object that satisfies all. The
    lamp tasks have two: holding the object, and a lamp turned on at this place.

    Source: the goal conditions of ALFRED (arXiv 1912.01734, evaluation), for the six task types that ALFWorld kept.
    """
    goal, objects, receptacles = engine.game.goal, engine.game.objects, engine.game.receptacles
    if goal.kind == "light":
        held = engine.held is not None and objects[engine.held].type == goal.object_type
        lit = any(
            objects[thing].type == goal.lamp_type and thing in engine.inside[index]
            for thing in engine.toggled
            for index, receptacle in enumerate(receptacles)
            if receptacle.location == engine.place
        )
        return int(held) + int(lit), 2
    wanted = {
        thing for thing, entry in enumerate(objects) if entry.type == goal.object_type and goal.requires <= entry.flags
    }
    places = [index for index, receptacle in enumerate(receptacles) if receptacle.type == goal.receptacle_type]
    placed = [len(wanted & engine.inside[index]) for index in places]
    met, total = min(max(placed, default=0), goal.count), goal.count
    if goal.states:
        total += len(goal.states) + 1
        met += sum(any(state in engine.states[thing] for thing in wanted) for state in goal.states)
        met += engine.won
    return met, total
