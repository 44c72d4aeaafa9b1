"""Task-type names of published skill libraries, and the names that the environments here use for them."""

from __future__ import annotations

# The published names that differ from those of the environments here. Source: the routing in SDAR's code (commit
# 8b85c23) for ALFWorld and the question sets; for WebShop's departments and the types defined here, our reading.
PUBLISHED_TYPES: dict[str, tuple[str, ...]] = {
    "pick_and_place": ("pick_and_place_simple", "pick_two_obj_and_place"),
    "clean": ("pick_clean_then_place_in_recep",),
    "heat": ("pick_heat_then_place_in_recep",),
    "cool": ("pick_cool_then_place_in_recep",),
    "examine": ("look_at_obj_in_light",),
    "apparel": ("fashion",),
    "footwear": ("fashion",),
    "accessories": ("fashion",),
    "home_decor": ("garden",),
    "beauty_health": ("beauty",),
    "other": ("grocery",),
    "direct_retrieval": ("one_hop", "nq", "triviaqa"),
    "entity_attribute_lookup": ("one_hop", "popqa"),
    "multi_hop_reasoning": ("two_hop", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle"),
    "compare": ("comparison",),
}


def with_local_types(*names: str) -> tuple[str, ...]:
    """Published names, each followed by what the environments here call it."""
    return tuple(dict.fromkeys(found for name in names for found in (name, *PUBLISHED_TYPES.get(name, ()))))
