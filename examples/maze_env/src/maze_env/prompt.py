"""How a model is asked: the generic window prompt with a role of its own."""

from sdar_gym.envs.prompting import WindowTemplate

TEMPLATES = {"window": WindowTemplate("You are walking through a maze, room by room.")}
