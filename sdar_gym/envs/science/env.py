"""`sdar/Science-v0`: quantitative problems with units, multiple choice and short answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sdar_gym.envs.problems.env import ProblemEnv
from sdar_gym.envs.problems.problem import Verdict
from sdar_gym.envs.problems.sources import ProblemSource
from sdar_gym.envs.science.checking import judge
from sdar_gym.envs.science.generator import LEVELS
from sdar_gym.envs.science.problem import ScienceProblem, written_solution
from sdar_gym.envs.science.rows import open_science
from sdar_gym.envs.science.selection import selected
from sdar_gym.text import shortened
from sdar_gym.validation import whole_number

# Levels of SciKnowEval, and those that are played by default.
_FILE_LEVELS = (1, 2, 3, 4, 5)
_DEFAULT_FILE_LEVELS = (3,)


class ScienceEnv(ProblemEnv[ScienceProblem]):
    r"""Science: quantities with units, multiple choice and short answers.

    Task:
        One problem; the answer is a whole solution. The embedded problems are generated, of six task types with three
        levels each: `mechanics`, `gas_laws`, `stoichiometry`, `dilution`, `decay`, `circuits`. Each has one correct
        answer, worked steps and known mistakes. Level 1 is short: whole numbers, one law. Level 2 has conversions of
        units and two steps, level 3 three or four steps.

        The task type of problems in files is their domain: `biology`, `chemistry`, `physics`, `material`; `science`
        for rows without one. Two forms of rows are read; a value of another type raises an error with file, row and
        field.

        - SciKnowEval: `question`, `type`, `choices` with `text` and `label`, `answerKey`, `answer`, `domain`,
          `details.level`. Read are `mcq-4-choices`, `mcq-2-choices`, `true_or_false` and `filling`. Rows of other
          types, which no rule can check, and rows whose choices are damaged are left out; their numbers are logged.
        - Plain: `question`, `answer`; for quantities `unit` (or the unit in `answer`) and `tolerance`; for choices
          `choices`, a list of texts, with the letter or the text as `answer`; `accepted`, further spellings of a text;
          `solution`, `domain`, `data_source`.

    Observation:
        First the problem, with its options. After an answer what is wrong with it, without the correct one: there is no
        answer, no unit, the unit measures something else, the value is not within the tolerance, another option is
        correct.

    Action:
        A solution with the answer in `<answer>…</answer>`, the last pair of which counts; without one, the last
        `\boxed{…}`; without that, a last line `Answer: …`, or the whole action, if it is one short line. An action
        without an answer is invalid, and so is one whose answer is no quantity or no option where one is asked for.

        A quantity is a number and a unit: `12.5 m/s`, `1.25 × 10^1 m s⁻¹`, `$12.5\,\mathrm{m/s}$`, `45 km/h`. Compared
        after conversion; rounding is forgiven within the tolerance, 1 % unless the problem says otherwise. `1,000` is a
        thousand, `1,5` and `0,125` have a decimal comma. In a product, `°C` is a difference of temperatures. In
        `J/mol K` everything after the slash may be below it. An option is named by its letter, its text or both. Texts
        are compared without differences of capitals, spacing, articles and LaTeX; chemical formulas keep their
        capitals.

    Reward:
        `success_reward` for a correct answer, else 0.

    Episode end:
        Terminated by a correct answer, or by the last turn's; with `max_steps=1` by the first.

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`; `admissible_actions` is
        empty, since actions are open-ended. `data_source` (data set of the problem), `answer` (found in the action);
        for teachers and logs only: `feedback` (the step that failed, or the reason with a worked check and the expected
        answer) and `reference` (the worked solution; empty without one).

    Splits:
        `train`, `dev`, `test`, as far as there are problems; the name of a file determines its split, and files without
        one are `train`. A problem that occurs in two splits is left out of the earlier one. No generated problem occurs
        in two splits.

    Arguments:
        problems: A file or folder of problems: `.jsonl` (also `.jsonl.gz`), `.json` or `.parquet`. A relative path that
            does not exist is searched in `$SDAR_GYM_DATA/science`. Default, and `"embedded"`: the generated problems.
        split: The split that `reset()` draws from; default the first one present.
        levels: Levels that are played: of the generated problems, 1 to 3, default all; of SciKnowEval, 1 to 5, default
            3. Rows without a level are always played.
        max_steps: Turn limit.
        success_reward: Reward for a correct answer.

    Differences from the reference:
        There is no reference environment. SciKnowEval's own evaluation asks a model to judge open-ended answers and
        compares relations and molecules by similarity; such rows are left out here, so that results are those of the
        other rows. Its instruction to answer without an explanation is not shown. Units are converted by `pint` (extra
        `science`); without it, an answer in another unit than the expected one is wrong, with a message that says so,
        and files of problems with units are refused. Equal dimensions count as equal units: `Hz` and `Bq`, `J` and
        `N m`.

    Version history:
        v0: first release.
    """

    FOLDER = "science"

    def __init__(
        self,
        problems: str | os.PathLike[str] | None = None,
        split: str | None = None,
        levels: int | Iterable[int] | None = None,
        max_steps: int = 1,
        success_reward: float = 1.0,
        render_mode: str | None = None,
    ):
        self._levels = None if levels is None else _checked_levels(levels)
        super().__init__(problems, split, max_steps, success_reward, render_mode)

    def _open(self, path: str | None) -> ProblemSource[ScienceProblem]:
        known = LEVELS if path is None else _FILE_LEVELS
        levels = self._levels or (LEVELS if path is None else _DEFAULT_FILE_LEVELS)
        if not set(levels) <= set(known):
            raise ValueError(f"levels must be from {known[0]} to {known[-1]} for these problems, got {levels}.")
        if path is not None:
            return open_science(Path(path), levels)
        return selected(levels)

    def _judge(self, problem: ScienceProblem, action: str) -> Verdict:
        return judge(problem, action)

    def reference_answer(self) -> str:
        """The worked solution of the running episode's problem, or its answer in tags alone.

        Raises:
            ValueError: No episode is running.
        """
        return self.problem.solution or written_solution((), self.problem.answer)

    def mistaken_answers(self) -> tuple[str, ...]:
        """Solutions with the known mistakes of an embedded problem."""
        return tuple(written_solution(mistake.steps, mistake.answer) for mistake in self.problem.mistakes)


def _checked_levels(levels: int | Iterable[int]) -> tuple[int, ...]:
    listed = [levels] if isinstance(levels, int) else levels
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise ValueError(f"levels must be a list of whole numbers, got {shortened(levels)}.")
    checked = tuple(sorted({whole_number("levels", level, 1, max(_FILE_LEVELS)) for level in listed}))
    if not checked:
        raise ValueError("levels is empty; leave it out to play all levels.")
    return checked
