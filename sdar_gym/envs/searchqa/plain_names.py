"""Plain names for the embedded world: combinations of common words, which very small models can copy word by word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from sdar_gym.envs.draws import shuffled

# By kind, the words of the two places of a name.
WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    kind: (tuple(first.split()), tuple(second.split()))
    for kind, (first, second) in {
        "person": (
            "Ada Anna Ben Carl Clara David Dora Ella Emil Emma Eric Eva Felix Flora Frank Frida George Grace "
            "Hanna Henry Hugo Jack Jane Laura Leo Lily Lucy Martha Martin Max Oscar Otto Paul Peter Rosa Ruth "
            "Sarah Simon Thomas Walter",
            "Archer Baker Berry Bishop Carter Clark Cooper Day Dean Falk Fox Frost Hale Hart Hunter Judge King "
            "Lamb Marsh Mason Miller Moss Page Porter Potter Reed Shaw Stone Taylor Wolf",
        ),
        "town": (
            "Upper North South East West Great Little Long High Deep Dry Green White Market Castle Old",
            "Ford Hill Mill Field Well Wood Lake Port Gate Dale Park Hall Rock Bay",
        ),
        "province": ("Inner Outer Far Near Fair Wild", "Oaks Elms Pines Ashes Cedars Maples"),
        "river": ("Grey Blue Slow Cold Dark Young Quick Still Wide", "Otter Swan Heron Trout Eel Crane Pike Frog"),
        "company": (
            "Alpine Baltic Crown Delta Eagle Empire Falcon Global Imperial Island Lion Lunar Metro National Ocean "
            "Orion Pioneer Polar Prime Rapid Royal Saturn Solar Star Summit Sun Titan Union United Western",
            "Works Brothers Trading Press Tools Goods Supply Crafts Mills Glass Motors Foods Steel Textiles "
            "Paints Stores Group Labs",
        ),
    }.items()
}


def plain_names(rng: Random, kind: str) -> list[str]:
    """All names of a kind in random order."""
    first, second = WORDS[kind]
    return shuffled(rng, [f"{one} {two}" for one in first for two in second])


def renaming(rng: Random, more: Sequence[tuple[str, ...]] = ()) -> Callable[[str], str]:
    """Random renaming of everything in texts about the plain world: words change places with others of their kind.

    Args:
        rng: Source of the draws.
        more: Further kinds of words, such as those of titles.
    """
    new: dict[str, str] = {}
    for words in (*(words for pair in WORDS.values() for words in pair), *more):
        # A word of two kinds belongs to the first.
        kind = [word for word in words if word not in new]
        new.update(zip(kind, shuffled(rng, kind), strict=True))
    pattern = _pattern(tuple(new))
    return lambda text: pattern.sub(lambda found: new[found.group()], text)


@cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b")
