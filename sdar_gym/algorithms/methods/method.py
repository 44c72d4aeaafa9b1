"""A method: a named objective, its sources, and its deviations from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdar_gym.algorithms.objectives.objective import Objective


@dataclass(frozen=True, slots=True)
class Method:
    """A named objective and its sources.

    Args:
        name: The method's name in configurations and reports.
        objective: Its settings.
        summary: One sentence on what it does.
        source: Paper and code the settings were taken from.
        deviations: Where it differs from its source, or where its sources contradict each other.
        acts_with_skills: Whether the acting policy itself reads the skills during training.
        experimental: Whether its formulas come from a third party's notes and were not checked against the paper.
    """

    name: str
    objective: Objective
    summary: str
    source: str
    deviations: tuple[str, ...] = ()
    acts_with_skills: bool = False
    experimental: bool = False

    @property
    def needs_teacher(self) -> bool:
        """Whether the method needs a second forward pass under a teacher's context or weights."""
        return self.objective.needs_teacher

    def with_overrides(self, overrides: Mapping[str, Any]) -> Method:
        """Returns the same method with some settings of its objective replaced.

        Args:
            overrides: Settings of `Objective`, as Python values or as plain configuration values; a mapping changes
                settings inside a group.

        Raises:
            ValueError: If a setting is unknown, out of range or contradicts another.
        """
        if not overrides:
            return self
        try:
            return replace(self, objective=self.objective.changed(overrides))
        except ValueError as error:
            raise ValueError(f"Method {self.name!r}: {error}") from None
