"""Texts of ALFWorld observations, as rendered by the grammar of upstream.

Source: observed behavior of alfworld 0.4.2 on textworld 1.7.0 (the grammar inside the public `.tw-pddl` games).
"""

from __future__ import annotations

from collections.abc import Sequence

NOTHING_HAPPENS = "Nothing happens."
# The padding of the move line is as in upstream.
HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""

# The first match is used; the word is "cool" in combinations and "cold" alone.
_CONDITIONS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"isClean", "isHot", "isSliced"}), "hot and clean sliced"),
    (frozenset({"isClean", "isCool", "isSliced"}), "cool and clean sliced"),
    (frozenset({"isClean", "isSliced"}), "clean sliced"),
    (frozenset({"isHot", "isSliced"}), "hot sliced"),
    (frozenset({"isCool", "isSliced"}), "cool sliced"),
    (frozenset({"isClean", "isHot"}), "hot and clean"),
    (frozenset({"isClean", "isCool"}), "cool and clean"),
    (frozenset({"isHot"}), "hot"),
    (frozenset({"isClean"}), "clean"),
    (frozenset({"isCool"}), "cold"),
)


def join(names: Sequence[str]) -> str:
    """Enumeration as in upstream, with a comma before "and" even for two names."""
    if not names:
        return "nothing"
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + ", and " + names[-1]


def listing(names: Sequence[str]) -> str:
    """Enumeration with articles, always "a"."""
    return join([f"a {name}" for name in names])


def intro(receptacles: Sequence[str], task: str) -> str:
    """First observation of an episode."""
    return (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        f"You are in the middle of a room. Looking quickly around you, you see {listing(receptacles)}.\n\n"
        f"Your task is to: {task}"
    )


def look(facing: Sequence[str], beside: Sequence[str]) -> str:
    """Feedback of `look`; before the first `go to` it lists nothing, as in upstream."""
    if not facing:
        return "You are in the middle of a room. Looking quickly around you, you see nothing."
    return f"You are facing the {join(facing)}. Next to it, you see {listing(beside)}."


def contents(name: str, openable: bool, opened: bool, things: Sequence[str]) -> str:
    """Contents of a receptacle."""
    if not openable:
        return f"On the {name}, you see {listing(things)}."
    if opened:
        return f"The {name} is open. In it, you see {listing(things)}."
    return f"The {name} is closed."


def examine_object(
    name: str, states: frozenset[str] | set[str], is_receptacle: bool, things: Sequence[str], sliceable: bool
) -> str:
    """Description of the held object."""
    if is_receptacle:
        return f"This is a normal {name}. In it, you see {listing(things)}."
    for needed, words in _CONDITIONS:
        if needed <= states:
            return f"This is a {words} {name}."
    if sliceable and "isSliced" in states:
        return f"This is a sliced {name}."
    return f"There's nothing special about {name}."
