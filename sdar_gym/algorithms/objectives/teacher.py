"""Settings of the teacher: its privileged context (the view) and its weights."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from sdar_gym.settings import Settings, setting, without_effect


class View(StrEnum):
    """The privileged context in the teacher's prompt, which the student does not see.

    `SKILLS`: retrieved skills. `SOLUTION`: the reference or expert solution of the task. `SIBLING`: a successful
    episode of the same group. `FEEDBACK`: the environment's reply to this very action. `SIBLING_OR_FEEDBACK`: a
    successful episode of the group, and where there is none the feedback. `HINDSIGHT`: a summary of the finished
    episode. `NONE`: nothing, for a teacher with other weights.
    """

    SKILLS = "skills"
    SOLUTION = "solution"
    SIBLING = "sibling"
    FEEDBACK = "feedback"
    SIBLING_OR_FEEDBACK = "sibling_or_feedback"
    HINDSIGHT = "hindsight"
    NONE = "none"


class Weights(StrEnum):
    """The teacher's weights.

    `LIVE`: the student's at the start of the update. `EMA`: a moving average of them. `STALE`: those of the last
    refresh. `FROZEN`: those at the start of the run. `EXTERNAL`: another model with the same tokenizer.
    """

    LIVE = "live"
    EMA = "ema"
    STALE = "stale"
    FROZEN = "frozen"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Teacher(Settings):
    """Settings of the teacher.

    Raises:
        ValueError: If a setting is missing, out of range or without effect, or if the teacher equals the student.
    """

    PREFIX: ClassVar[str] = "teacher."

    view: View = setting(View.SKILLS)
    weights: Weights = setting(Weights.LIVE)
    rate: float | None = setting(
        None, "With `ema`: share of the student's weights taken in after each update.", above=0.0
    )
    every: int | None = setting(None, "With `stale`: updates between refreshes.", low=1)
    model: str | None = setting(None, "With `external`: a folder or a hub name.")
    blank_control: bool = setting(
        False, "Whether the same prompt with its privileged part blanked is scored too, for contrast signals."
    )

    def _check(self) -> None:
        if self.weights is Weights.EMA:
            if self.rate is None:
                raise ValueError(
                    "teacher.weights='ema' needs teacher.rate, the student's share at each update; SDPO uses 0.05."
                )
            if self.rate >= 1.0:
                raise ValueError(
                    f"teacher.rate is the student's share and must be below 1, got {self.rate!r}; for 1 write "
                    "teacher.weights='live'."
                )
        else:
            without_effect("teacher.rate", self.rate, "only teacher.weights='ema' averages")
        if self.weights is Weights.STALE:
            if self.every is None:
                raise ValueError("teacher.weights='stale' needs teacher.every, the updates between refreshes.")
        else:
            without_effect("teacher.every", self.every, "only teacher.weights='stale' is refreshed")
        if self.weights is Weights.EXTERNAL:
            if self.model is None:
                raise ValueError("teacher.weights='external' needs teacher.model, a folder or a hub name.")
        else:
            without_effect("teacher.model", self.model, "only teacher.weights='external' loads a model")
        if self.view is View.NONE and self.weights is Weights.LIVE:
            raise ValueError(
                "teacher.view='none' with teacher.weights='live' makes the teacher the student: every gap is 0. Give "
                "it a view, or other weights."
            )
        if self.blank_control and self.view is not View.FEEDBACK:
            raise ValueError(
                f"teacher.blank_control blanks the observation of teacher.view='feedback'; the view "
                f"{str(self.view)!r} has no blank form."
            )

    @property
    def after_rollout(self) -> bool:
        """Whether its prompts can only be written once the episodes are finished."""
        return self.view not in (View.SKILLS, View.NONE)
