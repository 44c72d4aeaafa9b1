"""Demonstrations for the tiny policies of environments with a verifier: answers with and without privileged texts.

Without a privileged text the demonstrator is right with a fixed probability, and otherwise makes a known mistake: a
weak prior over procedures, as of a model without experience. With a solution or another attempt's answer in the prompt
it repeats it, even a wrong one, so that the policy has to read the text. With feedback on a wrong attempt it answers
correctly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any, ClassVar

import gymnasium

from sdar_gym.envs.draws import pick
from sdar_gym.envs.problems.env import ProblemEnv
from sdar_gym.envs.prompting import EpisodeView, PrivilegedContext, PromptTemplate, prompt_template
from sdar_gym.policy.tiny_tokenizer import PROBLEMS, TokenStyle
from sdar_gym.rollout.privileged_context import VERDICT, WHOLE_SIBLING, WHOLE_SOLUTION
from sdar_gym.warmstart.tiny_demonstrations import Demonstration


@dataclass(frozen=True, slots=True)
class ProblemMix:
    """Mixture of the demonstrations; numbers are probabilities unless stated otherwise.

    Attributes:
        env_id: The environment.
        env_config: Its arguments.
        solution: The prompt has a solution.
        sibling: The prompt has another attempt's answer.
        feedback: The prompt has the feedback on an attempt.
        other: The prompt has the solution of another problem, which is ignored.
        made_up: A solution or another attempt's answer is a wrong one.
        first_wrong: The attempt that the feedback is about is wrong.
        prior: By task type, the answer is right without a privileged text.
        tasks: Number of training problems that demonstrations are about.
    """

    env_id: str
    env_config: Mapping[str, Any] = field(default_factory=lambda: {"levels": [1]})
    solution: float = 0.15
    sibling: float = 0.1
    feedback: float = 0.2
    other: float = 0.05
    made_up: float = 0.4
    first_wrong: float = 0.8
    prior: Mapping[str, float] = field(default_factory=dict)
    tasks: int = 8000

    STYLE: ClassVar[TokenStyle] = PROBLEMS

    def stream(self, seed: int) -> Iterator[Demonstration]:
        """Endless stream of demonstrations; `seed` decides all draws."""
        env = gymnasium.make(self.env_id, **self.env_config).unwrapped
        if not isinstance(env, ProblemEnv):
            raise ValueError(f"{self.env_id} has no problems with a verifier.")
        problems = _Problems(env, prompt_template(self.env_id, "compact"))
        ids = list(env.task_ids("train")[: self.tasks])
        rng = Random(f"sdar-gym demonstrations {self.env_id} {seed}")
        while True:
            yield self._demonstration(rng, problems, ids)

    def to_json(self) -> dict[str, Any]:
        """The mixture as JSON."""
        return {**asdict(self), "env_config": dict(self.env_config), "prior": dict(self.prior)}

    def _demonstration(self, rng: Random, problems: _Problems, ids: list[str]) -> Demonstration:
        task = problems.of(pick(rng, ids))
        kind, draw = "", rng.random()
        for name in ("solution", "sibling", "feedback", "other"):
            draw -= getattr(self, name)
            if draw < 0:
                kind = name
                break
        if kind in ("solution", "sibling"):
            answer = pick(rng, task.wrong) if rng.random() < self.made_up else task.right
            if kind == "solution":
                return problems.demonstration(task, replace(WHOLE_SOLUTION, text=answer), answer)
            return problems.demonstration(task, replace(WHOLE_SIBLING, text=problems.response(answer)), answer)
        if kind == "feedback":
            attempt = pick(rng, task.wrong) if rng.random() < self.first_wrong else task.right
            text = problems.feedback(task, attempt)
            return problems.demonstration(task, replace(VERDICT, text=text), task.right)
        guess = task.right if rng.random() < self.prior.get(task.kind, 0.3) else pick(rng, task.wrong)
        if kind == "other":
            other = problems.of(pick(rng, ids))
            if other.kind != task.kind:
                return problems.demonstration(task, replace(WHOLE_SOLUTION, text=other.right), guess)
        return problems.demonstration(task, None, guess)


@dataclass(frozen=True, slots=True)
class _Task:
    task_id: str
    kind: str
    text: str
    right: str
    wrong: tuple[str, ...]


class _Problems:
    """The problems of an environment with their right and wrong answers, read once."""

    def __init__(self, env: ProblemEnv[Any], template: PromptTemplate):
        self._env = env
        self._template = template
        self._tasks: dict[str, _Task] = {}
        self._feedback: dict[tuple[str, str], str] = {}

    def of(self, task_id: str) -> _Task:
        """A task by id."""
        if task_id not in self._tasks:
            env = self._env
            text, info = env.reset(options={"task_id": task_id})
            self._tasks[task_id] = _Task(
                task_id, info["task_type"], text, env.reference_answer(), env.mistaken_answers()
            )
        return self._tasks[task_id]

    def feedback(self, task: _Task, answer: str) -> str:
        """What the verifier says of an answer."""
        key = task.task_id, answer
        if key not in self._feedback:
            self._env.reset(options={"task_id": task.task_id})
            self._feedback[key] = self._env.step(self.response(answer))[4]["feedback"]
        return self._feedback[key]

    def demonstration(self, task: _Task, privileged: PrivilegedContext | None, answer: str) -> Demonstration:
        """The compact prompt of a task, and an answer."""
        view = EpisodeView(task.text, (), task.text, ())
        messages = self._template.messages(view, window=0, think=False, privileged=privileged)
        return Demonstration(messages[0]["content"], self.response(answer))

    def response(self, answer: str) -> str:
        """The response that gives an answer, which may be shorter than a solution's form of it."""
        respond = getattr(self._template, "respond", None)
        return answer if respond is None else respond(answer, think=False)
