"""Plain names for the embedded world: combinations of common words, which very small models can copy word by word."""

from __future__ import annotations

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
