"""Demonstrations for WebShop's tiny policy: expert play in the generated shop, with real, made-up and missing skills.

With a skill text the demonstrator follows it to the letter, also where the task names other options, so the policy has
to read the text. Without one it knows the procedure with a fixed probability by task type, and otherwise forgets an
option: a weak prior, as of a language model without experience in this shop. Product ids are replaced by random ones,
so that they have to be copied and cannot be known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, ClassVar

import gymnasium

from sdar_gym.envs.draws import pick
from sdar_gym.envs.prompting import skill_context
from sdar_gym.envs.webshop.demonstrator import (
    Demonstrator,
    Procedure,
    forgetful_procedure,
    random_procedure,
    skill_text,
)
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.notes import Notes, goal_of
from sdar_gym.envs.webshop.prompt import render_notes
from sdar_gym.policy.tiny_tokenizer import PROBLEMS, TokenStyle
from sdar_gym.warmstart.tiny_demonstrations import Demonstration

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_CODE = re.compile(r"\bb0[0-9a-z]{8}\b")


@dataclass(frozen=True, slots=True)
class ShopMix:
    """Mixture of the demonstrations; numbers are probabilities unless stated otherwise.

    Attributes:
        env_config: The environment's arguments.
        skill: The prompt has a skill text.
        made_up: The skill text states a made-up procedure.
        slip: Another action is carried out (the label stays the right one).
        keep: A turn is kept that neither searches nor chooses nor buys; most turns do neither.
        prior: By task type, the procedure is known without a skill text.
    """

    env_config: Mapping[str, Any] = field(
        default_factory=lambda: {"data": "generated", "num_products": 400, "observation": "readable"}
    )
    skill: float = 0.6
    made_up: float = 0.6
    slip: float = 0.08
    keep: float = 0.4
    prior: Mapping[str, float] = field(
        default_factory=lambda: {
            "color_size": 0.5,
            "color_style": 0.05,
            "flavor_name_size": 0.6,
            "color": 0.5,
            "size": 0.6,
            "scent_size": 0.05,
            "capacity": 0.6,
            "scent": 0.6,
            "style": 0.6,
        }
    )

    STYLE: ClassVar[TokenStyle] = PROBLEMS

    def stream(self, seed: int) -> Iterator[Demonstration]:
        """Endless stream of demonstrations; `seed` decides all draws."""
        env = gymnasium.make("sdar/WebShop-v0", task_types="options", **self.env_config).unwrapped
        assert isinstance(env, WebShopEnv)
        by_type: dict[str, list[str]] = {}
        for task_id in env.task_ids("train"):
            by_type.setdefault(env.task_type(task_id), []).append(task_id)
        types = sorted(by_type)
        rng = Random(f"sdar-gym shop demonstrations {seed}")
        while True:
            task_type = pick(rng, types)
            yield from _episode(self, rng, env, pick(rng, by_type[task_type]), task_type)

    def to_json(self) -> dict[str, Any]:
        """The mixture as JSON."""
        return {**asdict(self), "env_config": dict(self.env_config), "prior": dict(self.prior)}


def _episode(mix: ShopMix, rng: Random, env: WebShopEnv, task_id: str, task_type: str) -> Iterator[Demonstration]:
    observation, _ = env.reset(options={"task_id": task_id})
    goal = env.goal
    right = tuple(sorted(name for name, _ in goal.options))
    procedure, skills = _belief(mix, rng, right, task_type)
    words = [word for attribute in goal.attributes for word in attribute.split()]
    demonstrator = Demonstrator(goal.query, words, goal.options, procedure)
    notes = Notes(goal_of(goal.instruction))
    notes.update("", observation)
    turn, ended, codes = 1, False, _Codes(rng)
    while not ended:
        action = demonstrator.act(notes, turn)
        decides = action.startswith("search[") or action == "click[buy now]" or action[6:-1] in notes.offers.values()
        if decides or rng.random() < mix.keep:
            prompt = codes.replaced(render_notes(notes, turn, skill_context(skills)))
            yield Demonstration(prompt, f"<action>{codes.replaced(action)}</action>")
        if rng.random() < mix.slip:
            action = _slip(rng, env, action, goal.options, bool(skills), goal.query)
        observation, _, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        notes.update(action, observation)
        turn += 1


class _Codes:
    """Random product ids in place of the real ones, the same within an episode."""

    def __init__(self, rng: Random):
        self._rng = rng
        self._made: dict[str, str] = {}

    def replaced(self, text: str) -> str:
        """The text with other ids."""
        return _CODE.sub(lambda match: self._made.setdefault(match[0], self._new()), text)

    def _new(self) -> str:
        return "b0" + "".join(pick(self._rng, _LETTERS) for _ in range(8))


def _slip(rng: Random, env: WebShopEnv, action: str, options: Any, skills: bool, kind: str) -> str:
    """Another action: a click on something else, or, where a text says what to search for, another search."""
    if action.startswith("search["):
        other = random_procedure(rng, ())
        return f"search[{Demonstrator(kind, (), options, other).query()}]" if skills else action
    others = [name for name in env.page.clicks if name != "buy now"]
    return f"click[{pick(rng, others)}]" if others else action


def _belief(mix: ShopMix, rng: Random, right: Procedure, task_type: str) -> tuple[Procedure, str]:
    """The procedure that the demonstrator follows, and the skill text in its prompt."""
    if rng.random() < mix.skill:
        procedure = random_procedure(rng, right) if rng.random() < mix.made_up else right
        return procedure, skill_text(procedure)
    knows = rng.random() < mix.prior.get(task_type, 0.5)
    return (right if knows else forgetful_procedure(rng, right)), ""
