"""The teacher in the advantage: multipliers that keep its sign, and bonuses that are added to it.

    Â = κ·A·M + B        multiplier: M = 1 + λ·u, u from sign(A)·x        bonus: B = λ·u, u from x

x is the teacher's signal, brought to the size of a token, a turn or a walk over the turns, and u what squashing,
normalising and limiting make of it. Computed once per update over all rows, as trajectories and groups are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sdar_gym.algorithms.checks import choice, count, flag, number, store, without_effect
from sdar_gym.algorithms.schedules import Schedule


class Enter(StrEnum):
    """Where the signal enters the advantage."""

    MULTIPLIER = "multiplier"
    BONUS = "bonus"


class Signal(StrEnum):
    """x: the gap teacher minus student, the teacher's log-probability alone, or its view minus the blanked view."""

    GAP = "gap"
    TEACHER_LOGP = "teacher_logp"
    CONTRAST = "contrast"


class Aggregate(StrEnum):
    """Over what x is gathered: the token, its turn (mean or sum), the last tokens, or a walk over the turns so far."""

    TOKEN = "token"
    TURN_MEAN = "turn_mean"
    TURN_SUM = "turn_sum"
    WINDOW = "window"
    BELIEF = "belief"


class Squash(StrEnum):
    """How x becomes bounded or relative: as it is, e^x - 1, or tanh(x/2) = 2σ(x) - 1."""

    IDENTITY = "identity"
    EXPM1 = "expm1"
    TANH = "tanh"


class Normalise(StrEnum):
    """What x is divided by: nothing, its z-score in the turn or in the trajectory, the group's mean |x|."""

    NONE = "none"
    TURN_Z = "turn_z"
    TRAJECTORY_Z = "trajectory_z"
    GROUP_MEAN_ABS = "group_mean_abs"


@dataclass(frozen=True, slots=True)
class Shaping:
    """Settings of a multiplier or bonus.

    Args:
        enter: Multiplier or bonus.
        coeff: λ, a schedule.
        signal: x.
        aggregate: Over what x is gathered.
        squash: What makes it bounded.
        normalise: What it is divided by.
        scale: What u is multiplied with before the limit.
        limit: Largest |u|; None leaves it as it is.
        decay: With `belief`: what is left of the evidence after a turn.
        window: With `window`: how many tokens, the present one included.
        turn_budget: Whether a turn's mean multiplier is set to 1, so that weight moves within turns only.
        uncertain_turns: Only this share of the turns, those least likely to the student, is touched; None for all.
        group_trust: Whether u is weighed by how well the teacher's liking of a group's episodes agrees with their
            returns, and limited where returns spread little.

    Raises:
        ValueError: If a setting is out of range, has no effect, or could flip the sign of an advantage.
    """

    enter: Enter
    coeff: Schedule
    signal: Signal = Signal.GAP
    aggregate: Aggregate = Aggregate.TOKEN
    squash: Squash = Squash.IDENTITY
    normalise: Normalise = Normalise.NONE
    scale: float = 1.0
    limit: float | None = None
    decay: float | None = None
    window: int | None = None
    turn_budget: bool = False
    uncertain_turns: float | None = None
    group_trust: bool = False

    def __post_init__(self) -> None:
        store(
            self,
            enter=choice(Enter, "shaping.enter", self.enter),
            coeff=Schedule.parse(self.coeff, name="shaping.coeff"),
            signal=choice(Signal, "shaping.signal", self.signal),
            aggregate=choice(Aggregate, "shaping.aggregate", self.aggregate),
            squash=choice(Squash, "shaping.squash", self.squash),
            normalise=choice(Normalise, "shaping.normalise", self.normalise),
            turn_budget=flag("shaping.turn_budget", self.turn_budget),
            group_trust=flag("shaping.group_trust", self.group_trust),
        )
        number("shaping.scale", self.scale, above=0.0)
        if self.coeff.minimum < 0.0 or self.coeff.always_zero:
            raise ValueError("shaping.coeff must not be negative, nor 0 at every step; leave shaping out instead.")
        if self.limit is not None:
            number("shaping.limit", self.limit, above=0.0)
        if self.aggregate is Aggregate.BELIEF:
            if self.decay is None or not 0.0 < number("shaping.decay", self.decay) <= 1.0:
                raise ValueError(f"shaping.aggregate='belief' needs shaping.decay in (0, 1], got {self.decay!r}.")
        else:
            without_effect("shaping.decay", self.decay, "only shaping.aggregate='belief' forgets")
        if self.aggregate is Aggregate.WINDOW:
            if self.window is None:
                raise ValueError("shaping.aggregate='window' needs shaping.window, the tokens it is the mean of.")
            count("shaping.window", self.window, at_least=2)
        else:
            without_effect("shaping.window", self.window, "only shaping.aggregate='window' looks back")
        if self.uncertain_turns is not None and not 0.0 < number("shaping.uncertain_turns", self.uncertain_turns) < 1:
            raise ValueError(f"shaping.uncertain_turns is a share between 0 and 1, got {self.uncertain_turns!r}.")
        if self.normalise is Normalise.TURN_Z and self.aggregate is not Aggregate.TOKEN:
            raise ValueError("shaping.normalise='turn_z' compares the tokens of a turn; it needs aggregate='token'.")
        if self.normalise is Normalise.TRAJECTORY_Z and self.aggregate in (Aggregate.TOKEN, Aggregate.WINDOW):
            raise ValueError(
                f"shaping.normalise='trajectory_z' compares turns; aggregate={str(self.aggregate)!r} gives tokens."
            )
        if self.turn_budget and (self.enter is Enter.BONUS or self.aggregate is not Aggregate.TOKEN):
            raise ValueError("shaping.turn_budget moves weight between the tokens of a turn: multiplier, 'token'.")
        if self.enter is Enter.MULTIPLIER:
            bound = self.limit
            if bound is None and self.squash is Squash.TANH and self.normalise is Normalise.NONE:
                bound = self.scale
            if bound is None:
                raise ValueError("A multiplier needs shaping.limit (or squash='tanh'): without a bound it flips signs.")
            if self.coeff.maximum * bound >= 1.0:
                raise ValueError(
                    f"shaping: coeff {self.coeff.maximum:g} times limit {bound:g} is not below 1, so a multiplier "
                    "could reach 0 and flip the advantage's sign. Lower one of them."
                )
