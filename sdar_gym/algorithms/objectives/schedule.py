"""Schedules: coefficients as piecewise linear functions of the update's number."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, whole_number


@dataclass(frozen=True, slots=True)
class Schedule:
    """A coefficient as a function of the training step: linear between points, constant outside them.

    A step is the number of completed updates: the first update runs at step 0. In a configuration a schedule is a
    number or a list of points, `[[0, 0.5], [100, 0.0]]`, as RLlib writes schedules. `{share: …}` of either says that
    the values are shares of the policy gradient's norm, from which the learner computes the coefficient.

    Args:
        points: Pairs (step, value) with strictly increasing steps.
        share: Whether the values are shares of the policy gradient's norm.

    Raises:
        ValueError: If there is no point, the steps do not increase, or a value is not a finite number.
    """

    points: tuple[tuple[int, float], ...]
    share: bool = False

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("A schedule needs at least one (step, value) point, got none.")
        for step, value in self.points:
            whole_number("a schedule's step", step, 0)
            finite_number("a schedule's value", value)
        steps = [step for step, _ in self.points]
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            raise ValueError(f"The steps of a schedule must increase, got {steps}.")

    @classmethod
    def constant(cls, value: float) -> Schedule:
        """Returns the schedule that has one value at every step.

        Args:
            value: The coefficient.

        Raises:
            ValueError: If `value` is not a finite number.
        """
        return cls(((0, finite_number("value", value)),))

    @classmethod
    def linear(cls, start: float, end: float, steps: int) -> Schedule:
        """Returns a linear ramp from `start` at step 0 to `end` at step `steps`, constant afterwards.

        Args:
            start: Value at step 0.
            end: Value from step `steps` on.
            steps: Length of the ramp, at least 1.

        Raises:
            ValueError: If a value is not a finite number or `steps` is below 1.

        Source:
            RLSD's coefficient decays this way, 0.5 to 0 over 100 steps (launch scripts of the SDAR repository).
        """
        return cls(((0, finite_number("start", start)), (whole_number("steps", steps, 1), finite_number("end", end))))

    @classmethod
    def window(cls, value: float, *, delay: int = 0, hold: int | None = None) -> Schedule:
        """Returns a schedule that is zero, then constant for a number of steps, then zero.

        Args:
            value: The coefficient while it is on.
            delay: Steps at zero before.
            hold: Steps at the value, or None for all that remain.

        Raises:
            ValueError: If `value` is not a finite number, a length is negative, or `hold` is below 1.

        Source:
            ADRS (arXiv 2608.03223) runs off for 20 steps, on for 50, then off: `window(v, delay=20, hold=50)`.
        """
        value = finite_number("value", value)
        start = whole_number("delay", delay, 0)
        points = [(start, value)]
        if delay:
            points.insert(0, (delay - 1, 0.0))
        if hold is not None:
            off = start + whole_number("hold", hold, 1)
            points += [(off - 1, value)] * (hold > 1) + [(off, 0.0)]
        return cls(tuple(points))

    @classmethod
    def parse(cls, name: str, value: Any) -> Schedule:
        """Returns the schedule that a configuration describes.

        Args:
            name: What the setting is called where the user wrote it.
            value: A number, a schedule, or a list of points `[step, value]`.

        Raises:
            ValueError: It is none of these; the message starts with `name`.
        """
        if isinstance(value, Schedule):
            return value
        if isinstance(value, Sequence) and not isinstance(value, str):
            if not value or not all(isinstance(point, Sequence) and len(point) == 2 for point in value):
                raise ValueError(
                    f"{name} must be a number or points such as [[0, 0.5], [100, 0]], got {shortened(value)}."
                )
            try:
                return cls(tuple((step, finite_number("a value", number)) for step, number in value))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if isinstance(value, Mapping):
            if set(value) != {"share"} or isinstance(value["share"], Mapping):
                raise ValueError(
                    f"{name} must be a number or points such as [[0, 0.5], [100, 0]], or {{share: …}} of them, got "
                    f"{shortened(dict(value))}."
                )
            return replace(cls.parse(f"{name}.share", value["share"]), share=True)
        return cls.constant(finite_number(name, value))

    def plain(self) -> float | list[list[float]] | dict[str, Any]:
        """What `parse` reads as this schedule: a number if it is constant, else its points; shares under `share`."""
        if self.share:
            return {"share": replace(self, share=False).plain()}
        if len(self.points) == 1 and self.points[0][0] == 0:
            return self.points[0][1]
        return [[step, value] for step, value in self.points]

    def at(self, step: int) -> float:
        """Returns the coefficient at a step.

        Args:
            step: Number of completed updates.

        Raises:
            ValueError: If `step` is negative or not a whole number.
        """
        step = whole_number("step", step, 0)
        after = bisect.bisect_right(self.points, step, key=lambda point: point[0])
        if after == 0:
            return self.points[0][1]
        left_step, left = self.points[after - 1]
        if after == len(self.points) or step == left_step:
            return left
        right_step, right = self.points[after]
        return left + (right - left) * (step - left_step) / (right_step - left_step)

    @property
    def minimum(self) -> float:
        """The smallest value at any step."""
        return min(value for _, value in self.points)

    @property
    def maximum(self) -> float:
        """The largest value at any step."""
        return max(value for _, value in self.points)

    @property
    def always_zero(self) -> bool:
        """Whether the coefficient is zero at every step, so that what it multiplies need not be computed."""
        return all(value == 0.0 for _, value in self.points)
