"""Helpers to play the hand-made kitchen in engine tests."""

from __future__ import annotations

from sdar_gym.envs.alfworld.engine import Engine

NOTHING = "Nothing happens."
FETCH_KNIFE = ("go to diningtable 1", "take knife 1 from diningtable 1")
FETCH_APPLE = ("go to countertop 2", "take apple 1 from countertop 2")
FETCH_MUG = ("go to countertop 1", "take mug 1 from countertop 1")


def play(engine: Engine, *commands: str) -> str:
    """Feedback of the last command; all commands must be admissible."""
    answer = ""
    for command in commands:
        assert command in engine.admissible(), command
        answer, admissible = engine.act(command)
        assert admissible
    return answer


def refused(engine: Engine, command: str) -> bool:
    return command not in engine.admissible() and engine.act(command) == (NOTHING, False)
