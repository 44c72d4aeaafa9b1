"""Scripted demonstrator: shops from the notes of observations alone, for warm-start demonstrations.

It teaches a small model to use skills. A procedure names the options that the search has and that are chosen before
the purchase. The shop's index has option values, so a search without them seldom finds a fitting product, and a
purchase without one fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from sdar_gym.envs.draws import pick
from sdar_gym.envs.webshop.notes import Notes

OPTION_NAMES = ("capacity", "color", "flavor name", "scent", "size", "style")
# From this turn on a product is bought that may not fit: turns run out.
LATE = 12

Procedure = tuple[str, ...]
"""Names of the options to choose, in order."""


def random_procedure(rng: Random, right: Procedure) -> Procedure:
    """A wrong procedure: too few options, too many, or others."""
    while True:
        draw = rng.random()
        if draw < 0.25:
            made = tuple(name for name in right if rng.random() < 0.5)
        elif draw < 0.5:
            made = tuple(sorted({*right, pick(rng, OPTION_NAMES)}))
        else:
            count = 1 + (rng.random() < 0.6)
            made = tuple(sorted({pick(rng, OPTION_NAMES) for _ in range(count)}))
        if made != right:
            return made


def forgetful_procedure(rng: Random, right: Procedure) -> Procedure:
    """The usual mistake: one option alone of two, or none of one."""
    return (pick(rng, right),) if len(right) > 1 else ()


def skill_text(procedure: Procedure) -> str:
    """The skill text of a procedure, in the words of the library `webshop-options`."""
    if not procedure:
        return "Search for the type alone, open a product that shows the properties, and buy."
    clicks = ", ".join(f"click the {name}" for name in procedure)
    named = " and ".join(procedure)
    return f"Search for the type with its {named}, open a product that shows the properties, {clicks}, and buy."


class Demonstrator:
    """Policy for one episode.

    Args:
        kind: The words of the product type in the instruction.
        properties: The words of the properties in the instruction.
        options: The option values that the instruction names, by option.
        procedure: The procedure to follow.
    """

    def __init__(self, kind: str, properties: Sequence[str], options: Sequence[tuple[str, str]], procedure: Procedure):
        self._kind = kind
        self._properties = frozenset(properties)
        self._options = dict(options)
        self._procedure = procedure

    def query(self) -> str:
        """The search of the procedure: product type and option values."""
        values = [self._options[name] for name in self._procedure if name in self._options]
        return " ".join((self._kind, *values))

    def act(self, notes: Notes, turn: int) -> str:
        """Next action.

        Args:
            notes: On the episode.
            turn: Number of the turn, from 1.
        """
        if notes.page == "results":
            for code, _ in notes.listed:
                if code not in notes.opened:
                    return f"click[{code.lower()}]"
            if notes.more:
                return "click[next >]"
            if notes.listed:
                return f"click[{notes.listed[0][0].lower()}]"
        if notes.page == "item":
            return self._on_item(notes, turn >= LATE)
        if notes.page == "text":
            return "click[< prev]"
        return f"search[{self.query()}]"

    def _on_item(self, notes: Notes, late: bool) -> str:
        missing = [name for name in self._procedure if name not in notes.offers and name not in notes.chosen]
        # An option that the task does not name can never be chosen as the procedure wants it.
        if missing and (not late or any(name not in self._options for name in missing)):
            return "click[< prev]"
        if not late and self._properties.intersection(notes.lacks):
            return "click[< prev]" if notes.at in notes.read else "click[features]"
        for name in self._procedure:
            if name in notes.offers:
                return f"click[{notes.offers[name]}]"
        return "click[buy now]"
