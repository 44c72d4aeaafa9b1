"""Native ALFWorld engine: the mutable state of an episode and the effect of each command.

It implements the ALFRED domain as alfworld 0.4.2 / textworld 1.7.0 execute it, including its oddities, since published
results depend on them: heating works with the microwave open or closed, a lamp can only be turned on, slicing reaches
into closed receptacles at the same place, and an object in two receptacles stays in the other one when taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from sdar_gym.envs.alfworld import text
from sdar_gym.envs.alfworld.world import Game, Goal

_SINKS = frozenset({"SinkBasinType", "SinkType"})
_KNIVES = frozenset({"KnifeType", "ButterKnifeType"})


class Engine:
    """State of a running game.

    `admissible()` returns the sorted admissible commands; `act(command)` executes one and returns the feedback text. A
    command that does not exactly match an admissible one has no effect and returns "Nothing happens.".

    Args:
        game: The game; shared and immutable.
    """

    def __init__(self, game: Game):
        self.game = game
        self.place = game.start
        self.held: int | None = None
        self.opened = {i for i, r in enumerate(game.receptacles) if r.opened}
        self.inside: list[set[int]] = [set() for _ in game.receptacles]
        self.locations: list[set[int]] = []
        self.states: list[set[str]] = []
        self.toggled: set[int] = set()
        # (object, receptacle) pairs of taken objects: `look` lists the object if it is at this place again.
        self._taken_from: set[tuple[int, int]] = set()
        for index, thing in enumerate(game.objects):
            for receptacle in thing.inside:
                self.inside[receptacle].add(index)
            self.locations.append(set(thing.locations))
            self.states.append(set(thing.states))
        here: defaultdict[int, list[int]] = defaultdict(list)
        for index, receptacle in enumerate(game.receptacles):
            here[receptacle.location].append(index)
        self._here = {location: tuple(indices) for location, indices in here.items()}
        self._commands: dict[str, Callable[[], str]] | None = None
        self._sorted: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        # The commands are bound to this instance; a copy computes them again.
        return {**self.__dict__, "_commands": None}

    def intro(self) -> str:
        """The first observation."""
        return text.intro([r.name for r in self.game.receptacles], self.game.task)

    def admissible(self) -> tuple[str, ...]:
        """All admissible commands, sorted as strings."""
        if self._commands is None:
            self._commands = self._find_commands()
            self._sorted = tuple(sorted(self._commands))
        return self._sorted

    def act(self, command: str) -> tuple[str, bool]:
        """Execute a command.

        Args:
            command: Any text; must match an admissible command exactly, except for surrounding white space.

        Returns:
            The feedback text, and whether the command was admissible.
        """
        self.admissible()
        assert self._commands is not None
        run = self._commands.get(command.strip())
        if run is None:
            return text.NOTHING_HAPPENS, False
        feedback = run()
        self._commands = None
        return feedback, True

    @property
    def won(self) -> bool:
        """Whether the goal holds in the current state (it may become false again)."""
        goal, game = self.game.goal, self.game
        if goal.kind == "light":
            return self._won_light(goal)
        for index, receptacle in enumerate(game.receptacles):
            if receptacle.type != goal.receptacle_type:
                continue
            good = sum(
                1
                for thing in self.inside[index]
                if game.objects[thing].type == goal.object_type
                and goal.states <= self.states[thing]
                and goal.requires <= game.objects[thing].flags
            )
            if good >= goal.count:
                return True
        return False

    def _won_light(self, goal: Goal) -> bool:
        objects = self.game.objects
        if self.held is None or objects[self.held].type != goal.object_type:
            return False
        return any(
            objects[thing].type == goal.lamp_type and thing in self.inside[receptacle]
            for thing in self.toggled
            for receptacle in self._here.get(self.place, ())
        )

    def _find_commands(self) -> dict[str, Callable[[], str]]:
        receptacles, objects = self.game.receptacles, self.game.objects
        here = self._here.get(self.place, ())
        held = self.held
        commands: dict[str, Callable[[], str]] = {
            "help": lambda: text.HELP,
            "inventory": self._inventory,
            "look": self._look,
        }
        for index, receptacle in enumerate(receptacles):
            if receptacle.location != self.place:
                commands[f"go to {receptacle.name}"] = partial(self._go, index)
        for index in here:
            receptacle = receptacles[index]
            name = receptacle.name
            commands[f"examine {name}"] = partial(self._contents, index)
            is_open = index in self.opened
            if receptacle.openable:
                if is_open:
                    commands[f"close {name}"] = partial(self._close, index)
                else:
                    commands[f"open {name}"] = partial(self._open, index)
            reachable = is_open or not receptacle.openable
            for thing in self.inside[index]:
                flags = objects[thing].flags
                if held is None and reachable and "pickupable" in flags:
                    commands[f"take {objects[thing].name} from {name}"] = partial(self._take, thing, index)
                if "toggleable" in flags:
                    commands[f"use {objects[thing].name}"] = partial(self._use, thing)
            if held is None:
                continue
            thing_name, flags = objects[held].name, objects[held].flags
            if reachable and (receptacle.type, objects[held].type) in self.game.can_contain:
                commands[f"move {thing_name} to {name}"] = partial(self._move, index)
            if receptacle.type == "MicrowaveType" and "heatable" in flags:
                commands[f"heat {thing_name} with {name}"] = partial(self._change, "heat", index)
            elif receptacle.type == "FridgeType" and "coolable" in flags:
                commands[f"cool {thing_name} with {name}"] = partial(self._change, "cool", index)
            elif receptacle.type in _SINKS and "cleanable" in flags:
                commands[f"clean {thing_name} with {name}"] = partial(self._change, "clean", index)
        if held is not None:
            commands[f"examine {objects[held].name}"] = self._examine_held
            if objects[held].type in _KNIVES:
                for thing, places in enumerate(self.locations):
                    if self.place in places and "sliceable" in objects[thing].flags:
                        commands[f"slice {objects[thing].name} with {objects[held].name}"] = partial(self._slice, thing)
        return commands

    def _names(self, things: set[int]) -> list[str]:
        return [self.game.objects[thing].name for thing in sorted(things)]

    def _inventory(self) -> str:
        if self.held is None:
            return "You are not carrying anything."
        return f"You are carrying: a {self.game.objects[self.held].name}."

    def _look(self) -> str:
        here = self._here.get(self.place, ())
        beside = [
            self.game.objects[thing].name
            for thing, receptacle in sorted(self._taken_from)
            if receptacle in here and self.place in self.locations[thing]
        ]
        return text.look([self.game.receptacles[index].name for index in here], beside)

    def _contents(self, index: int) -> str:
        receptacle = self.game.receptacles[index]
        return text.contents(
            receptacle.name, receptacle.openable, index in self.opened, self._names(self.inside[index])
        )

    def _go(self, index: int) -> str:
        self.place = self.game.receptacles[index].location
        return f"You arrive at {self.game.receptacles[index].name}. {self._contents(index)}"

    def _open(self, index: int) -> str:
        self.opened.add(index)
        return f"You open the {self.game.receptacles[index].name}. {self._contents(index)}"

    def _close(self, index: int) -> str:
        self.opened.discard(index)
        return f"You close the {self.game.receptacles[index].name}."

    def _take(self, thing: int, index: int) -> str:
        self.inside[index].discard(thing)
        self._taken_from.add((thing, index))
        self.locations[thing].discard(self.place)
        self.held = thing
        return f"You pick up the {self.game.objects[thing].name} from the {self.game.receptacles[index].name}."

    def _move(self, index: int) -> str:
        thing = self.held
        assert thing is not None
        self.inside[index].add(thing)
        self._taken_from.discard((thing, index))
        self.locations[thing].add(self.place)
        self.held = None
        return f"You move the {self.game.objects[thing].name} to the {self.game.receptacles[index].name}."

    def _change(self, verb: str, index: int) -> str:
        thing = self.held
        assert thing is not None
        states = self.states[thing]
        if verb == "clean":
            states.add("isClean")
        else:
            states.add("isHot" if verb == "heat" else "isCool")
            states.discard("isCool" if verb == "heat" else "isHot")
        return f"You {verb} the {self.game.objects[thing].name} using the {self.game.receptacles[index].name}."

    def _use(self, thing: int) -> str:
        self.toggled.add(thing)
        return f"You turn on the {self.game.objects[thing].name}."

    def _slice(self, thing: int) -> str:
        assert self.held is not None
        self.states[thing].add("isSliced")
        return f"You sliced the {self.game.objects[thing].name} with the {self.game.objects[self.held].name}."

    def _examine_held(self) -> str:
        assert self.held is not None
        thing = self.game.objects[self.held]
        return text.examine_object(
            thing.name,
            self.states[self.held],
            "isReceptacleObject" in thing.flags,
            self._names(set(thing.holds)),
            "sliceable" in thing.flags,
        )
