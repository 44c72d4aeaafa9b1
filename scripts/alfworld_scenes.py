"""Computes the scene statistics of the ALFWorld generator from the real train games.

    python scripts/alfworld_scenes.py GAMES > sdar_gym/envs/alfworld/scenes.json

GAMES is a folder or archive with ALFWorld's `json_2.1.1/train`. The statistics are counts: receptacles of floor plans,
frequencies and places of objects, accepted objects of receptacle types, goals.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict

from sdar_gym.envs.alfworld.sources import open_source

_ROOMS = ((1, 30, "kitchen"), (201, 230, "livingroom"), (301, 330, "bedroom"), (401, 430, "bathroom"))


def _room(floor_plan: int) -> str:
    return next(name for low, high, name in _ROOMS if low <= floor_plan <= high)


def main(path: str) -> None:
    """Print the statistics of the games at `path`."""
    source = open_source(path)
    floor_plans: defaultdict[str, dict[int, Counter[str]]] = defaultdict(dict)
    counts: defaultdict[str, defaultdict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    placements: defaultdict[str, defaultdict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    games: Counter[str] = Counter()
    flags: defaultdict[str, set[str]] = defaultdict(set)
    accepts: defaultdict[str, set[str]] = defaultdict(set)
    goals: defaultdict[str, defaultdict[str, Counter[tuple[str, str]]]] = defaultdict(lambda: defaultdict(Counter))
    openable: set[str] = set()
    shared, receptacles, cold, fridge_things = 0, 0, 0, 0
    for task_id in source.task_ids("train"):
        game = source.load(task_id)
        floor_plan = int(task_id.split("/")[1].rsplit("-", 1)[1])
        room = _room(floor_plan)
        games[room] += 1
        types = Counter(r.type.removesuffix("Type") for r in game.receptacles)
        floor_plans[room][floor_plan] = floor_plans[room].get(floor_plan, Counter()) | types
        openable |= {r.type.removesuffix("Type") for r in game.receptacles if r.openable}
        places = Counter(r.location for r in game.receptacles)
        shared += sum(places[r.location] - 1 > 0 for r in game.receptacles)
        receptacles += len(game.receptacles)
        here: Counter[str] = Counter()
        for thing in game.objects:
            kind = thing.type.removesuffix("Type")
            here[kind] += 1
            flags[kind] |= thing.flags
            where = game.receptacles[thing.inside[0]].type.removesuffix("Type") if thing.inside else ""
            placements[room][kind][where] += 1
            if where == "Fridge" and "coolable" in thing.flags:
                fridge_things += 1
                cold += "isCool" in thing.states
        for kind, number in here.items():
            counts[room][kind][number] += 1
        for receptacle, thing in game.can_contain:
            accepts[receptacle.removesuffix("Type")].add(thing.removesuffix("Type"))
        target = (game.goal.lamp_type or game.goal.receptacle_type).removesuffix("Type")
        goals[game.task_type][room][game.goal.object_type.removesuffix("Type"), target] += 1
    result = {
        "source": f"{sum(games.values())} ALFWorld train games (json_2.1.1)",
        "openable": sorted(openable),
        "shared_place_rate": round(shared / receptacles, 3),
        "cold_in_fridge_rate": round(cold / fridge_things, 3),
        "accepts": {k: sorted(v) for k, v in sorted(accepts.items())},
        "flags": {k: sorted(v) for k, v in sorted(flags.items()) if v},
        "rooms": {
            room: {
                "floor_plans": {str(n): dict(sorted(c.items())) for n, c in sorted(floor_plans[room].items())},
                "objects": {
                    kind: {
                        "present": round(sum(c.values()) / games[room], 3),
                        "counts": {str(n): m for n, m in sorted(c.items())},
                        "places": dict(sorted(placements[room][kind].items())),
                    }
                    for kind, c in sorted(counts[room].items())
                },
            }
            for room in sorted(games)
        },
        "goals": {
            task: {room: [[*pair, n] for pair, n in sorted(c.items())] for room, c in sorted(rooms.items())}
            for task, rooms in sorted(goals.items())
        },
    }
    # One line per leaf group keeps the file short and reviewable.
    print(json.dumps(result, separators=(",", ":"), sort_keys=False).replace('"},"', '"},\n"').replace("]},", "]},\n"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
