"""The tiny policies: one for each environment that has one, with recipe, configuration and acceptance test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.text import closest, shortened
from sdar_gym.warmstart.tiny import Recipe
from sdar_gym.warmstart.tiny_acceptance import measure_skills, measure_views

Measure = Callable[..., dict[str, Any]]


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


TINY_POLICIES: dict[str, TinyPolicy] = {
    "sdar/ALFWorld-v0": TinyPolicy("tiny", "quickstart", Recipe(), measure_skills),
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
