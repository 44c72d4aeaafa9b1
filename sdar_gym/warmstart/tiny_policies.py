"""The tiny policies: one for each environment that has one, with recipe, configuration and acceptance test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.text import closest, shortened
from sdar_gym.warmstart.problem_demonstrations import ProblemMix
from sdar_gym.warmstart.search_demonstrations import SearchMix
from sdar_gym.warmstart.shop_demonstrations import ShopMix
from sdar_gym.warmstart.tiny import Recipe
from sdar_gym.warmstart.tiny_acceptance import acceptance_panel, measure_control, measure_skills, measure_views


@dataclass(frozen=True, slots=True)
class TinyPolicy:
    """A tiny policy.

    Attributes:
        name: Folder of the shipped checkpoint; the policy is `builtin:<name>`.
        config: Configuration of its acceptance test, and of training.
        recipe: How it is made.
        measure: Its acceptance test; takes a `RunConfig`, the policy, and `report`.
    """

    name: str
    config: str
    recipe: Recipe
    measure: Callable[[RunConfig, str, Callable[[int, int], None]], dict[str, Any]]


def _views(run: RunConfig, model_name: str, report: Callable[[int, int], None]) -> dict[str, Any]:
    return measure_views(run, model_name, report=report)


def _shop(run: RunConfig, model_name: str, report: Callable[[int, int], None]) -> dict[str, Any]:
    # The shop is small: half of the validation split's tasks, by type, are left to the panels of runs.
    return measure_control(run, model_name, report, acceptance_panel(run, "valid", tasks=160, of_runs=96))


def _of_problems(name: str, prior: Mapping[str, float]) -> TinyPolicy:
    mix = ProblemMix(f"sdar/{name}-v0", prior=prior)
    recipe = Recipe(steps=4000, vocab_size=512, mix=mix)
    return TinyPolicy(f"tiny-{name.lower()}", f"quickstart-{name.lower()}", recipe, _views)


TINY_POLICIES: dict[str, TinyPolicy] = {
    "sdar/ALFWorld-v0": TinyPolicy("tiny", "quickstart", Recipe(), measure_skills),
    "sdar/WebShop-v0": TinyPolicy(
        "tiny-webshop", "quickstart-webshop", Recipe(steps=3600, tokens_per_step=4000, mix=ShopMix()), _shop
    ),
    "sdar/SearchQA-v0": TinyPolicy(
        "tiny-searchqa",
        "quickstart-searchqa",
        Recipe(steps=4000, tokens_per_step=3500, vocab_size=1400, mix=SearchMix()),
        measure_control,
    ),
    "sdar/Math-v0": _of_problems("Math", {"arithmetic": 0.5, "algebra": 0.35, "number_theory": 0.25, "counting": 0.1}),
    "sdar/Code-v0": _of_problems(
        "Code",
        {
            "lists": 0.5,
            "strings": 0.45,
            "numbers": 0.35,
            "dictionaries": 0.3,
            "grids": 0.2,
            "recursion": 0.1,
            "stdin": 0.05,
        },
    ),
    "sdar/Science-v0": _of_problems(
        "Science",
        {
            "mechanics": 0.55,
            "gas_laws": 0.4,
            "stoichiometry": 0.35,
            "dilution": 0.25,
            "decay": 0.15,
            "circuits": 0.05,
        },
    ),
}


def tiny_policy_of(env_id: str) -> TinyPolicy:
    """The tiny policy of an environment.

    Raises:
        ValueError: It has none.
    """
    if env_id not in TINY_POLICIES:
        close = closest(env_id, TINY_POLICIES)
        hint = f" Did you mean {close!r}?" if close else ""
        raise ValueError(f"{shortened(env_id)} has no tiny policy; {', '.join(TINY_POLICIES)} have one.{hint}")
    return TINY_POLICIES[env_id]
