"""Demonstrations for the tiny policy of Search-QA: play of the embedded world, with real, made-up and missing skills.

As for ALFWorld: with a skill text the demonstrator follows the text, of whatever procedure, so that the policy has to
read it. Without one it guesses the procedure and is right with a fixed probability by task type. Names are others in
every episode, so that they have to be copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any, ClassVar

from sdar_gym.envs.draws import pick
from sdar_gym.envs.prompting import skill_context
from sdar_gym.envs.searchqa.demonstrator import (
    Demonstrator,
    Procedure,
    random_procedure,
    skill_text,
    true_procedure,
)
from sdar_gym.envs.searchqa.env import SearchQAEnv
from sdar_gym.envs.searchqa.expert import asked_by
from sdar_gym.envs.searchqa.local_index import PLAIN
from sdar_gym.envs.searchqa.notes import Note, note_of
from sdar_gym.envs.searchqa.plain_names import renaming
from sdar_gym.envs.searchqa.prompt import CompactSearchTemplate, render_notes
from sdar_gym.envs.searchqa.text import write_call
from sdar_gym.envs.searchqa.world import TITLE_ADJECTIVES, TITLE_NOUNS, embedded_world
from sdar_gym.policy.tiny_tokenizer import SEARCH, TokenStyle
from sdar_gym.warmstart.tiny_demonstrations import Demonstration

_TEMPLATE = CompactSearchTemplate()


@dataclass(frozen=True, slots=True)
class SearchMix:
    """Mixture of the demonstrations; numbers are probabilities unless stated otherwise.

    Attributes:
        whole_rows: Number of demonstrations at the beginning whose prompts are in the loss, too: names come back in the
            notes, so that copying is learned from every token.
        skill: The prompt has a skill text.
        made_up: The skill text states a random procedure instead of that of the task type.
        slip: Another action is carried out (the label stays the right one).
        keep_first: A first turn, which is nearly the same for all procedures, is kept.
        prior: By task type, the procedure is guessed right without a skill text; otherwise it is one of another kind.
            Other types are left out: of two names to compare, so small a policy mixes the words.
    """

    whole_rows: int = 20_000
    skill: float = 0.7
    made_up: float = 0.5
    slip: float = 0.08
    keep_first: float = 0.5
    prior: Mapping[str, float] = field(default_factory=lambda: {"one_hop": 0.6, "two_hop": 0.1})

    STYLE: ClassVar[TokenStyle] = SEARCH

    def stream(self, seed: int) -> Iterator[Demonstration]:
        """Endless stream of demonstrations; `seed` decides all draws."""
        rng = Random(f"sdar-gym search demonstrations {seed}")
        env = SearchQAEnv(questions=PLAIN, task_types=[*self.prior])
        ids = env.task_ids("train")
        left = self.whole_rows
        while True:
            for row in self._episode(rng, env, pick(rng, ids)):
                yield replace(row, whole=left > 0)
                left -= 1

    def to_json(self) -> dict[str, Any]:
        """The mixture as JSON."""
        return {**asdict(self), "prior": dict(self.prior)}

    def _episode(self, rng: Random, env: SearchQAEnv, task_id: str) -> Iterator[Demonstration]:
        question, info = env.reset(options={"task_id": task_id})
        asked = asked_by(question)
        if asked is None:
            raise ValueError(f"The question {task_id} is of no known form: {question}")
        procedure, skills = self._belief(rng, info["task_type"])
        demonstrator = Demonstrator(embedded_world("plain"), asked, procedure)
        # Else the policy learns which words go together in the training world, and mixes up names that it has not seen.
        renamed = renaming(rng, (TITLE_ADJECTIVES, TITLE_NOUNS))
        notes: list[Note] = []
        for turn in range(env.max_steps):
            action = demonstrator.act(notes)
            if turn == env.max_steps - 1 and action.startswith("<search>"):
                return  # It would not be made.
            if turn or rng.random() < self.keep_first:
                prompt = render_notes(question, notes, skill_context(skills))
                yield Demonstration(renamed(prompt), renamed(_TEMPLATE.respond(action, think=False)))
            if rng.random() < self.slip:
                action = _slip(rng, action, question, asked.names)
            observation, _, ended, _, _ = env.step(action)
            if ended:
                return
            notes.append(note_of(action, observation))

    def _belief(self, rng: Random, task_type: str) -> tuple[Procedure, str]:
        """The procedure that the demonstrator follows, and the skill text in its prompt."""
        if rng.random() < self.skill:
            procedure = random_procedure(rng) if rng.random() < self.made_up else true_procedure(task_type)
            return procedure, skill_text(procedure)
        true = true_procedure(task_type)
        knows = rng.random() < self.prior.get(task_type, 1.0)
        return true if knows else random_procedure(rng, unlike=true.family), ""


def _slip(rng: Random, action: str, question: str, names: tuple[str, ...]) -> str:
    """Another action than an answer or a search: a search for a part of a name, or for the question, or none."""
    draw = rng.random()
    if draw < 0.1:
        return "<search></search>"
    if draw < 0.3:
        return write_call("search", question)
    name = pick(rng, names)
    return write_call("search", name if draw < 0.6 else name.split()[-1])
