"""`Problem`, one task of an environment with a verifier, and `Verdict`, the result of checking an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class ProblemFormatError(ValueError):
    """A problem file that is missing, unreadable, or without problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem; environments add the fields that their verifier needs.

    Attributes:
        task_id: `<split>/<task type>/<number>`; problems of the embedded generators have a level before the number.
        task_type: Kind of an embedded problem; the data set (or its subject) of others.
        split: Split.
        text: The problem, as the agent reads it.
        source: Data set; `embedded` for generated problems.
        group: Leakage group, see `TextEnv.task_group`.
        solution: A worked solution; empty if there is none.
    """

    task_id: str
    task_type: str
    split: str
    text: str
    source: str
    group: str
    solution: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of checking one answer.

    Attributes:
        answer: The answer that was found in the action; empty if there is none.
        valid: Whether the action holds an answer in the required form.
        won: Whether it is correct.
        score: Progress, 0 to 1.
        observation: What the agent is told: what is wrong, nothing that gives the answer away.
        feedback: Rich feedback for a teacher: the verifier's reason, the step or test that failed, the expected value.
        metrics: Further numbers for `info`; the names are the same for every verdict of an environment.
    """

    answer: str
    valid: bool
    won: bool
    score: float
    observation: str
    feedback: str
    metrics: Mapping[str, float] = field(default_factory=dict)
