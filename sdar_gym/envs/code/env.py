"""`sdar/Code-v0`: Python programming tasks, judged by public and hidden tests in a sandbox."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from sdar_gym.envs.code.execution import CodePool, CodePoolError, Job, Limits, Status, StdinCall, shared_pool
from sdar_gym.envs.code.execution.isolation import CHOICES
from sdar_gym.envs.code.feedback import NO_PROGRAM, feedback, observation
from sdar_gym.envs.code.generator import LEVELS, check_levels, embedded_problems, fenced
from sdar_gym.envs.code.judge import Judgement, judge
from sdar_gym.envs.code.problem import CodeProblem
from sdar_gym.envs.code.programs import FoundProgram, find_program
from sdar_gym.envs.code.rows import open_tasks
from sdar_gym.envs.code.selection import check_day, of_levels, of_window
from sdar_gym.envs.code.verdicts import KnownJudgements
from sdar_gym.envs.problems.env import EMBEDDED, ProblemEnv
from sdar_gym.envs.problems.problem import Verdict
from sdar_gym.envs.problems.sources import ProblemSource
from sdar_gym.envs.text_env import Turn
from sdar_gym.validation import finite_number, one_of, whole_number

_MEBIBYTE = 1024 * 1024
# Seconds of processor time a test: generated tests take milliseconds; LiveCodeBench's checker allows six seconds.
_EMBEDDED_SECONDS, _FILE_SECONDS = 2.0, 6.0
_JUDGEMENTS = KnownJudgements()


class CodeEnv(ProblemEnv[CodeProblem]):
    """Code: Python programming tasks with public and hidden tests.

    Task:
        Write a Python function, or a program that reads standard input and prints. The embedded tasks are generated:
        `lists`, `strings`, `numbers`, `dictionaries`, `grids`, `recursion` and `stdin`, in two or three levels; level 1
        is solved by one line. Each has a reference program, 2 public and 8 hidden tests with the edge cases among them,
        and known wrong programs that fail a hidden test (`env.problem.mistakes`). The task type of tasks from files is
        their platform, or their difficulty.

        Of a file these fields are read. A value of another form raises an error with file, row and field.

        - LiveCodeBench (v1 to v6): `question_content`, `starter_code`, `platform`, `difficulty`, `contest_date`,
          `public_test_cases`, `private_test_cases` (JSON, or packed as published; the pickle in it is never loaded)
          and `func_name` of `metadata`.
        - APPS and TACO: `question`, `input_output` (`inputs`, `outputs`, `fn_name`), `starter_code`, `difficulty`,
          `source`, and the first of `solutions`. Rows without tests, or with numbers of more digits than Python reads,
          are left out.
        - verl's chat form: `prompt`, `data_source` and `reward_model.ground_truth`, with tests in one of the two forms
          above.

        Where a file does not say which tests are public, the first one is. Tests that are assert statements (HumanEval,
        MBPP) are not supported.

    Observation:
        First the task. After a wrong program the first public test that failed, with input, expected and actual result
        and the traceback; if all public tests passed, the number of hidden tests that failed and why (`wrong answer`,
        `time limit`, the type of an exception), but not which. Long texts are cut in the middle.

    Action:
        A whole response. The program is its last block fenced by three backticks and marked `python`, else the last
        unmarked block, else the text in the last `<answer>` tags, else the whole response if it is Python with a
        definition or statement in it. Without a program, or with one of more than 50,000 characters, the action is
        invalid. A program that is no valid Python is not run.

    Reward:
        `success_reward` if all tests passed, else 0.

    Episode end:
        Terminated by a correct program, or after `max_steps` programs.

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`; `admissible_actions` is
        empty, since actions are open-ended. `public_passed` and `hidden_passed`: the shares of these tests that passed;
        `score` is the share of all. `isolation`: the level that the sandbox reached, `namespace` or `process`.
        `data_source`, `answer` (the program). For teachers and logs: `feedback` (the first test that failed, hidden
        ones too, with input, expected and actual result and traceback, and the numbers of passed tests) and `reference`
        (a correct program, or empty).

    Splits:
        `train`, `dev`, `test`, as far as the tasks have them; the name of a file determines its split, and without one
        it is `test` for names with `livecodebench` or `lcb`, else `train`. A task that occurs in two splits is left out
        of the earlier one. Embedded tasks of different splits have different reference programs.

    Arguments:
        problems: A file or folder of tasks: `.jsonl` (also `.jsonl.gz`), `.json` or `.parquet`. A relative path that
            does not exist is searched in `$SDAR_GYM_DATA/code`. Default, and `"embedded"`: the generated tasks.
        split: The split that `reset()` draws from; default the first one present.
        levels: Levels of the embedded tasks, a list such as `[1, 2]` or one of 1 to 3; default all.
        since: First day of publication, `YYYY-MM-DD`, for files with a `contest_date`.
        until: Last day of publication. Results on LiveCodeBench are reported on a window of time.
        max_steps: Number of programs that may be tried.
        success_reward: Reward for a program that passes all tests.
        isolation: `auto` for the best isolation that this system allows, `strict` to refuse less than namespaces of its
            own, or `namespace`, `bubblewrap` or `process`. `docs/code-execution.md` says what each holds.
        workers: Programs that run at the same time in this process; default one for each of its processors.
        time_limit: Seconds of processor time for one test; twice as much by the clock, and twenty times as much for all
            tests of a program. Default 2 for embedded tasks and 6 for files, as in LiveCodeBench.
        memory_limit: Memory of one test beyond the interpreter's own, in MiB.

    Differences from the reference:
        LiveCodeBench's checker runs programs in the evaluating process without isolation, and stops at the first test
        that fails. Here all tests are run, in a process each, so that `score` is a share; only if a public test runs
        out of time, or there is no such function, are the hidden ones left out and count as failed. Results are equal
        in the cases where its checker finds them equal, except that returned floats may differ by 1e-6, that a returned
        truth value is no number, and that numbers in an output are those with ASCII digits. A returned value that is no
        JSON (a set, nan) fails. A program that was judged on the same task before in the same process is not run
        again, unless it ran out of time or memory or crashed. NumPy is not available to programs.

    Version history:
        v0: first release.
    """

    FOLDER = "code"

    def __init__(
        self,
        problems: str | os.PathLike[str] | None = None,
        split: str | None = None,
        levels: Sequence[int] | int | None = None,
        since: str | date | None = None,
        until: str | date | None = None,
        max_steps: int = 1,
        success_reward: float = 1.0,
        isolation: str = "auto",
        workers: int | None = None,
        time_limit: float | None = None,
        memory_limit: int = 512,
        render_mode: str | None = None,
    ):
        embedded = problems is None or problems == EMBEDDED
        self._levels = check_levels(levels)
        if levels is not None and not embedded:
            raise ValueError("Only embedded tasks have levels: leave `levels` or `problems` out.")
        self._window = check_day("since", since), check_day("until", until)
        if any(self._window) and embedded:
            raise ValueError("Embedded tasks have no date: leave `since` and `until` out, or name `problems`.")
        self._isolation = one_of("isolation", isolation, CHOICES)
        self._workers = None if workers is None else whole_number("workers", workers, 1, 256)
        seconds = time_limit if time_limit is not None else _EMBEDDED_SECONDS if embedded else _FILE_SECONDS
        seconds = finite_number("time_limit", seconds, above=0, high=3600)
        self._limits = Limits(
            cpu_seconds=seconds,
            wall_seconds=2 * seconds,
            job_seconds=20 * seconds,
            memory_bytes=whole_number("memory_limit", memory_limit, 16, 1024 * 1024) * _MEBIBYTE,
        )
        super().__init__(problems, split, max_steps, success_reward, render_mode)

    def task_type(self, task_id: str) -> str:
        """Task type of an id; of an embedded task without making its tests.

        Raises:
            TaskNotFoundError: There is no such task.
        """
        if not self.embedded:
            return super().task_type(task_id)
        embedded_problems().draft(task_id)  # Raises for an unknown id.
        return task_id.split("/")[1]

    def check_ready(self) -> None:
        """Preflight check: run a program in the sandbox.

        Raises:
            ValueError: The isolation that is asked for is not to be had, or programs do not run; says why.
        """
        try:
            (result,) = self._pool().run(Job("print(input()[::-1])", (StdinCall("ready"),))).tests
        except CodePoolError as error:
            raise ValueError(f"Programs cannot be run: {error}") from error
        if result.status is not Status.OK or result.stdout != "ydaer\n":
            raise ValueError(f"A first program did not run: {result.status}, {result.error or result.stdout!r}.")

    def reference_answer(self) -> str:
        """A correct program for the problem of the running episode, as a fenced block.

        Raises:
            ValueError: No episode is running, or the problem has no solution.
        """
        if not self.problem.solution:
            raise ValueError(f"The task {self.problem.task_id} has no solution in its file.")
        return self.problem.solution

    def mistaken_answers(self) -> tuple[str, ...]:
        """Known wrong programs for an embedded problem, as fenced blocks."""
        return tuple(fenced(mistake.program) for mistake in self.problem.mistakes)

    def _pool(self) -> CodePool:
        # Shared by all environments of the process, which also lets them be pickled.
        return shared_pool(self._workers, self._isolation, self._limits)

    def _open(self, path: str | None) -> ProblemSource[CodeProblem]:
        if path is None:
            source = embedded_problems()
            return source if self._levels == LEVELS else of_levels(source, self._levels)
        tasks = open_tasks(Path(path))
        return of_window(tasks, *self._window) if any(self._window) else tasks

    def _no_metrics(self, problem: CodeProblem) -> dict[str, float]:
        return {"public_passed": 0.0, "hidden_passed": 0.0}

    def _judge(self, problem: CodeProblem, action: str) -> Verdict:
        found = find_program(action)
        if found is None or found.error:
            return self._not_run(problem, found)
        program, pool = found.text, self._pool()
        tests = problem.source, problem.task_id, problem.text
        key = tests, program, self._isolation, self._limits
        result = _JUDGEMENTS.get(key, lambda: judge(problem, program, pool))
        return Verdict(
            answer=found.text,
            valid=True,
            won=result.won,
            score=result.score,
            observation=observation(result),
            feedback=feedback(result),
            metrics=_shares(result),
        )

    def _not_run(self, problem: CodeProblem, found: FoundProgram | None) -> Verdict:
        text = NO_PROGRAM if found is None else f"The program was not run: {found.error}."
        none, valid = self._no_metrics(problem), found is not None and found.formed
        return Verdict("" if found is None else found.text, valid, False, 0.0, text, text, none)

    def _turn_of(self, verdict: Verdict, ended: bool) -> Turn:
        turn = super()._turn_of(verdict, ended)
        level = str(self._pool().isolation.level)
        return Turn(
            turn.observation,
            turn.reward,
            turn.terminated,
            turn.action_valid,
            turn.admissible_actions,
            turn.score,
            turn.won,
            {**turn.extra, "isolation": level},
        )


def _shares(result: Judgement) -> dict[str, float]:
    return {
        "public_passed": result.public_passed / result.public if result.public else result.score,
        "hidden_passed": result.hidden_passed / result.hidden if result.hidden else result.score,
    }
