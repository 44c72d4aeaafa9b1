"""Skill reader: a scripted agent that does what the skill in its prompt says, for warm starts of models that teach."""

from __future__ import annotations

from random import Random
from typing import Any

from sdar_gym.envs.alfworld.demonstrator import Demonstrator
from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.alfworld.notes import Notes, start_notes
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.warmstart.tiny_demonstrations import IDLE_TURNS, DemonstrationMix, belief


class SkillReader:
    """ALFWorld by the procedure of a skill text, real or made up; without one, by a guess that is sometimes right.

    It acts on what the agent was shown: it searches for objects, and does not know where they are. A model that is
    trained on it has to read the skill, and is weak without. Demonstrations of the tiny policy are of the same kind.

    Args:
        mix: How often there is a skill text, a made-up one, and a right guess.
        seed: Decides them, with the task.

    Attributes:
        skill: The skill text of this episode's prompts; empty for none.
    """

    def __init__(self, mix: DemonstrationMix | None = None, seed: int = 0):
        self._mix = mix or DemonstrationMix()
        self._seed = seed
        self.skill = ""

    def begin(self, env: TextEnv, observation: str, info: dict[str, Any]) -> None:
        """Draws skill text and procedure of an episode.

        Raises:
            TypeError: The environment is not ALFWorld.
        """
        if not isinstance(env, ALFWorldEnv):
            raise TypeError(f"The skill reader plays ALFWorldEnv, not {type(env).__name__}.")
        rng = Random(f"sdar-gym skill reader {self._seed} {info['task_id']}")
        procedure, self.skill = belief(self._mix, rng, env.game)
        self._demonstrator = Demonstrator(env.game, procedure)
        self._notes: Notes = start_notes(observation)
        self._last, self._idle = "", 0

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Next command; `look` when it believes the task done."""
        if self._last:
            self._notes.update(self._last, observation)
        command = self._demonstrator.act(self._notes)
        if command is None:
            self._idle += 1
        self._last = command or "look"
        return self._last

    @property
    def done(self) -> bool:
        """Whether it believed the task done and has looked around long enough to show that it tries nothing else."""
        return self._idle >= IDLE_TURNS
