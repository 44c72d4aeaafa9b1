"""An environment of sums for the tests of the shared base: every answer is a number."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.problems.embedded import SOURCE, Draft, EmbeddedProblems, Family, Mistake
from sdar_gym.envs.problems.env import ProblemEnv
from sdar_gym.envs.problems.problem import Problem, ProblemFormatError, Verdict
from sdar_gym.envs.problems.prompt import CompactProblemTemplate, ProblemTemplate
from sdar_gym.envs.problems.sources import ProblemSource, open_problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum(Problem):
    """A sum with its answer."""

    answer: str


def draw(rng: Random, level: int) -> Draft:
    a, b, c = (whole(rng, 1, 9**level) for _ in range(3))
    text = pick(rng, ("What is {a} + {b} + {c}?", "Add {a}, {b} and {c}.")).format(a=a, b=b, c=c)
    first = f"{a}+{b}={a + b}"
    wrong = Mistake(2, "The last number was left out.", str(a + b), (first,))
    return Draft(text, (first, f"{a + b}+{c}={a + b + c}"), str(a + b + c), (wrong,))


def finish(task_id: str, kind: str, split: str, draft: Draft) -> Sum:
    return Sum(
        task_id=task_id,
        task_type=kind,
        split=split,
        text=draft.text,
        source=SOURCE,
        group=draft.text,
        solution="\n".join((*draft.steps, draft.answer)),
        answer=draft.answer,
    )


def embedded(sizes: Mapping[str, int], version: str = "1") -> EmbeddedProblems[Draft, Sum]:
    return EmbeddedProblems([Family("sum", 2, draw)], sizes, version, lambda draft: draft.text, finish)


def read_row(row: Any, split: str, where: str) -> Sum | None:
    if row.get("answer") is None:
        return None
    if not isinstance(row.get("question"), str):
        raise ProblemFormatError(f"{where} has no question.")
    text = row["question"]
    return Sum(
        task_id="", task_type="file", split=split, text=text, source="file", group=text, answer=str(row["answer"])
    )


class SumEnv(ProblemEnv[Sum]):
    """Sums."""

    FOLDER = "sums"

    def __init__(
        self,
        problems: str | os.PathLike[str] | None = None,
        split: str | None = None,
        max_steps: int = 1,
        success_reward: float = 1.0,
        render_mode: str | None = None,
    ):
        super().__init__(problems, split, max_steps, success_reward, render_mode)

    def _open(self, path: str | None) -> ProblemSource[Sum]:
        if path is None:
            return embedded({"train": 40, "dev": 10, "test": 10})
        return open_problems(Path(path), read_row, columns=("question", "answer"), needed=("question",))

    def _judge(self, problem: Sum, action: str) -> Verdict:
        found = last_line(action)
        won = found == problem.answer
        told = "Correct." if won else f"{found or 'Nothing'} is not the sum."
        return Verdict(
            found, bool(found), won, float(won), told, f"{told} It is {problem.answer}.", {"length": float(len(found))}
        )

    def _no_metrics(self, problem: Sum) -> dict[str, float]:
        return {"length": 0.0}

    def reference_answer(self) -> str:
        return self.problem.solution or self.problem.answer


def last_line(action: str) -> str:
    """The last line of an action if it is a number."""
    line = action.strip().rpartition("\n")[2]
    return line if line.isdecimal() else ""


TEMPLATES = {
    "window": ProblemTemplate("You add.", "Write the sum on the last line.", lambda action: bool(last_line(action))),
    "compact": CompactProblemTemplate(lambda action: bool(last_line(action))),
}
