"""Settings of the advantage estimator: what a return is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from sdar_gym.settings import Settings, setting, without_effect


class Statistics(StrEnum):
    """What a group's mean and standard deviation run over: once per trajectory, or once per turn."""

    TRAJECTORY = "trajectory"
    TURN = "turn"


class Estimator(StrEnum):
    """What a return is compared with.

    `GRPO`: the group's mean. `RLOO`: the mean of the others. `GIGPO`: the group's mean, and the mean at the same state.
    """

    GRPO = "grpo"
    RLOO = "rloo"
    GIGPO = "gigpo"


@dataclass(frozen=True, slots=True)
class AdvantageEstimator(Settings):
    """Settings of the group-relative advantage.

    Raises:
        ValueError: If a setting is out of range or has no effect.
    """

    PREFIX: ClassVar[str] = "advantage."

    estimator: Estimator = setting(Estimator.GRPO)
    statistics: Statistics = setting(
        Statistics.TURN,
        "Whether a group's mean and standard deviation run over trajectories or over turns (`turn`, as in the released "
        "SDAR code; the paper writes them over trajectories).",
    )
    normalize_by_std: bool = setting(True, "Whether advantages are divided by the group's standard deviation.")
    step_weight: float | None = setting(None, "ω of GiGPO: weight of the step advantage; null elsewhere.", above=0.0)
    gamma: float | None = setting(None, "Discount of GiGPO's step returns; null elsewhere.", low=0.0, high=1.0)

    def _check(self) -> None:
        if self.estimator is Estimator.GIGPO:
            if self.step_weight is None or self.gamma is None:
                raise ValueError(
                    "advantage.estimator='gigpo' needs advantage.step_weight and advantage.gamma; published: 1.0 and "
                    "0.95."
                )
        else:
            without_effect("advantage.step_weight", self.step_weight, "only estimator='gigpo' has step advantages")
            without_effect("advantage.gamma", self.gamma, "only estimator='gigpo' discounts step returns")
        if self.estimator is Estimator.RLOO and (self.normalize_by_std or self.statistics is Statistics.TURN):
            raise ValueError(
                "advantage.estimator='rloo' compares trajectories and does not divide by the deviation: set "
                "advantage.statistics='trajectory' and advantage.normalize_by_std=false."
            )
