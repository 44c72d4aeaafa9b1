"""`sdar/Math-v0`: mathematical problems, an answer checked by equivalence."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sdar_gym.envs.math.answers import find_answer
from sdar_gym.envs.math.checking import Check, check_answer
from sdar_gym.envs.math.feedback import feedback_on, known_mistake, shown
from sdar_gym.envs.math.generator import LevelProblems, checked_levels, solution_of
from sdar_gym.envs.math.problems import MathProblem
from sdar_gym.envs.math.rows import COLUMNS, NEEDED, default_split, read_problem
from sdar_gym.envs.math.verifier import shared_verifier
from sdar_gym.envs.problems.env import ProblemEnv
from sdar_gym.envs.problems.problem import Verdict
from sdar_gym.envs.problems.sources import ProblemSource, open_problems
from sdar_gym.extras import require
from sdar_gym.paths import local_path
from sdar_gym.validation import finite_number

_NO_ANSWER = r"No answer was found. Write it in \boxed{} at the end."
# Of an answer in `info`: enough for logs.
_LONGEST_ANSWER = 2000


class MathEnv(ProblemEnv[MathProblem]):
    r"""Math: problems whose answer is checked by equivalence.

    Task:
        One problem with one answer: a number, a tuple, a set, an interval, an expression. The embedded problems are
        generated, of four types with three levels each: `arithmetic` (order of operations, brackets, remainders,
        fractions), `algebra` (linear equations, systems, quadratic equations), `number_theory` (divisors, common
        divisors and multiples, powers modulo a number) and `counting` (choices, arrangements, inclusion and exclusion,
        paths). Each has worked steps, a unique answer, and known mistakes with the wrong answers they lead to. Problems
        of level 1 have two or three short steps with small numbers.

        Of a problem file only these fields are read. A value of another type raises an error with file, row and field.

        - AIME, HMMT, AMC, Minerva, MATH-500, OpenR1: `problem` or `question` (also capitalized), `answer`, `solution`.
        - MATH: `problem`, `solution`, `level`, `type` or `subject`. Without `answer`, the answer is the last box of the
          solution.
        - GSM8K: `question`, `answer`, whose last line is the answer after `####`.
        - DeepMath: `question`, `final_answer`, `r1_solution_1`. Others: `expected_answer`.
        - DAPO, and other files in verl's form: `prompt`, a text or messages; `reward_model.ground_truth`,
          `data_source`, `extra_info.question`. What the prompt says about the form of the answer is left out.

        The task type of such a problem is its subject, where there are subjects and levels as in MATH; else its data
        set, under its usual name (`aime24`, `aime25`, `hmmt25`, `amc23`, `minerva_math`, `math500`, `gsm8k`, `dapo`,
        `deepmath`, `openr1`), which the row, the file or its folder names.

    Observation:
        First the problem. After an answer whether it is correct, or that there is none; nothing that gives the correct
        one away.

    Action:
        A whole solution. The answer is in its last `\boxed{…}` that is closed; without a box, in the last
        `<answer>…</answer>`; without both, the action itself if it is a single line of at most 200 characters. An empty
        box is no answer. An action without an answer is invalid, and counts as a turn.

    Reward:
        `success_reward` for an answer that is equivalent to the expected one, else 0.

        Numbers are compared exactly: 1/2, 0.5, \frac12 and 50% are equal; 1,000 is a thousand and (1,000) a pair; a
        decimal equals 1/3 if it is 1/3, rounded, with at least six digits. Sets and lists may be in any order, tuples
        may not. [0,1) is not (0,1). A missing unit or percent sign is forgiven, a wrong unit is not. Other expressions
        are compared by math-verify, in a process of its own with a time limit. A sum, product, integral or limit that
        is left to be worked out is no answer. Answers to the embedded problems are compared without math-verify: a
        number has to be written as a number, and not as the calculation that was asked for.

    Episode end:
        Terminated by a correct answer, and by the last of `max_steps` answers.

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`; `admissible_actions` is
        empty, since actions are open-ended. `data_source`; `answer` (the one that was found, up to 2,000 characters);
        `feedback` and `reference`, for teachers and logs only: what was wrong, with the correct answer and the worked
        steps, and the solution. Numbers, 0 or 1: `answer_found`, `known_mistake` (the answer is that of a known
        mistake) and `check_stopped` (the comparison reached its time limit, and the answer counted as wrong).

    Splits:
        `train`, `dev`, `test`, as far as the problems have them; the name of a file determines its split, and a file
        without one is `train`, or `test` if it is named as a set to evaluate on (AIME, HMMT, AMC, Minerva, MATH-500,
        OlympiadBench, BRUMO). A problem that occurs in two splits is left out of the earlier one. An embedded problem
        is in one split, whatever its wording.

    Arguments:
        problems: A file or folder of problems in one of the formats above: `.jsonl` (also `.jsonl.gz`), `.json` or
            `.parquet`. A relative path that does not exist is searched in `$SDAR_GYM_DATA/math`. They need the extra
            `math`. Default, and `"embedded"`: the generated problems.
        split: The split that `reset()` draws from; default the first one present.
        levels: Levels of the embedded problems, a list or one of 1 to 3; default all.
        max_steps: Number of answers that may be given.
        success_reward: Reward for a correct answer.
        check_timeout: Seconds for one comparison by math-verify. Starting its process is not counted.

    Differences from the reference:
        Published results use several verifiers. Here intervals, tuples, sets, units, percent signs and thousands
        separators are read by rules of our own, which are stricter than math-verify's; math-verify compares what is
        inside. Answers of Minerva's physics problems have to be equal too, where its authors allow for rounding.

    Version history:
        v0: first release.
    """

    FOLDER = "math"

    def __init__(
        self,
        problems: str | os.PathLike[str] | None = None,
        split: str | None = None,
        levels: Sequence[int] | int | None = None,
        max_steps: int = 1,
        success_reward: float = 1.0,
        check_timeout: float = 5.0,
        render_mode: str | None = None,
    ):
        self._levels = checked_levels(levels)
        self._check_timeout = finite_number("check_timeout", check_timeout, above=0)
        super().__init__(problems, split, max_steps, success_reward, render_mode)
        if levels is not None and not self.embedded:
            raise ValueError("levels is for the embedded problems; leave it out for problems of a file.")

    def check_ready(self) -> None:
        """Preflight check: start the process that compares expressions, if it is used.

        Raises:
            ValueError: math-verify is not installed.
        """
        if not self.embedded:
            shared_verifier().start()

    def reference_answer(self) -> str:
        """The solution with the answer in a box; the box alone if there is no solution.

        Raises:
            ValueError: No episode is running.
        """
        problem = self.problem
        if problem.solution and check_answer(problem.answer, find_answer(problem.solution)).equal:
            return problem.solution
        return solution_of([problem.solution] if problem.solution else [], problem.answer)

    def mistaken_answers(self) -> tuple[str, ...]:
        """Solutions with the known mistakes of an embedded problem."""
        return tuple(solution_of(mistake.steps, mistake.answer) for mistake in self.problem.mistakes)

    def _open(self, path: str | None) -> ProblemSource[MathProblem]:
        if path is None:
            return LevelProblems(self._levels)
        require("math", "Checking the answers of problems in files")
        return open_problems(
            local_path("problems", path), read_problem, columns=COLUMNS, needed=NEEDED, default_split=default_split
        )

    def _judge(self, problem: MathProblem, action: str) -> Verdict:
        answer = find_answer(action)
        timeout = None if self.embedded else self._check_timeout
        check = check_answer(problem.answer, answer, timeout) if answer else Check(False)
        mistake = None if check.equal else known_mistake(problem, answer)
        return Verdict(
            answer=answer[:_LONGEST_ANSWER],
            valid=answer != "",
            won=check.equal,
            score=float(check.equal),
            observation=_told(answer, check),
            feedback=feedback_on(problem, action, answer, check, mistake),
            metrics=_metrics(answer != "", mistake is not None, check.stopped),
        )

    def _no_metrics(self, problem: MathProblem) -> dict[str, float]:
        return _metrics(False, False, False)


def _metrics(answer_found: bool, known_mistake: bool, check_stopped: bool) -> dict[str, float]:
    return {
        "answer_found": float(answer_found),
        "known_mistake": float(known_mistake),
        "check_stopped": float(check_stopped),
    }


def _told(answer: str, check: Check) -> str:
    if not answer:
        return _NO_ANSWER
    if check.equal:
        return f"The answer {shown(answer)} is correct."
    if check.stopped:
        return f"The answer {shown(answer)} could not be compared in time. Write it in a simpler form."
    return f"The answer {shown(answer)} is not correct."
