"""Fuzzing: 100,000 hostile actions must not raise, hang, win or leak memory."""

from __future__ import annotations

import random
import time
import tracemalloc

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.science.env import ScienceEnv

MARKS = ("<answer>", "</answer>", "<answer", "\\boxed{", "}", "{", "Answer:", "\n", " ", "$", "\\frac", "\\text{")
NUMBERS = ("1", "9", "0", "12", "-3.5", "1,000", "1e9", "3 × 10^8", "10^-3", "⁻¹", "٣", "５", "half", "9**9**9", "1/2")
UNITS = (
    "m",
    "s",
    "kg",
    "km/h",
    "N",
    "µg",
    "Ω",
    "kohm",
    "mol",
    "L",
    "atm",
    "kPa",
    "blorp",
    "m^2",
    "dB",
    "°C",
    "%",
    "g",
    "J",
)
SIGNS = (
    "·",
    "^",
    "**",
    "/",
    "(",
    ")",
    "−",
    "+",
    "=",
    "≈",
    ".",
    ",",
    " per ",
    " squared",
    "²",
    "\\times",
    " ",
    " ",
    "*",
)
ODD = ("__import__", "lambda", "\x00", "\ud800", "\u202e", "🙂", "中", "x" * 300, "((((", "\\," * 20, "ﷺ")
PIECES = (*MARKS, *NUMBERS, *UNITS, *SIGNS, *ODD)


def nonsense(rng: random.Random) -> str:
    if rng.random() < 0.5:
        text = f"{rng.choice(NUMBERS)} " + "".join(
            rng.choice(UNITS) + rng.choice(SIGNS) for _ in range(rng.randrange(3))
        )
        return f"<answer>{text}{rng.choice(UNITS)}</answer>"
    text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(12)))
    return f"<answer>{text}</answer>" if rng.random() < 0.6 else text


@pytest.mark.parametrize("actions", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_no_action_raises_or_leaks(actions: int) -> None:
    pytest.importorskip("pint")
    env = gymnasium.make("sdar/Science-v0", split="dev").unwrapped
    assert isinstance(env, ScienceEnv)
    rng = random.Random(5)
    seen = {"won": 0, "invalid": 0, "valid": 0}
    longest = 0.0
    size = 0
    for number in range(actions):
        env.reset(seed=number if number == 0 else None)
        action = nonsense(rng)
        begun = time.process_time()
        observation, reward, terminated, _, info = env.step(action)
        longest = max(longest, time.process_time() - begun) if number else 0.0
        assert terminated and isinstance(observation, str) and reward == float(info["won"])
        seen["won"] += info["won"]
        seen["invalid"] += not info["action_valid"]
        seen["valid"] += info["action_valid"]
        if number == actions // 5:
            tracemalloc.start()
            size = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - size
    tracemalloc.stop()
    assert min(seen["valid"], seen["invalid"]) > actions // 20, seen
    assert seen["won"] < actions // 200, seen
    # The caches of units are bounded; a leak per episode would be far larger.
    assert grown < 12_000_000
    # The registry of units is opened once, in a fraction of a second.
    assert longest < 3


def test_large_actions_take_linear_time() -> None:
    env = gymnasium.make("sdar/Science-v0").unwrapped
    large = 1_000_000
    actions = [
        *(piece * (large // len(piece)) for piece in ("x", "<", "<answer>", "</answer>", "\\boxed{", "}", "12/4=3\n")),
        "</answer>" + "<answer>" * (large // 8),
        "<answer>" + "9" * large + "</answer>",
        "<answer>" + "m/" * (large // 2) + "</answer>",
        "\\boxed{" + "{" * large,
        "work\nAnswer: " + "x" * large,
        "Answer" * (large // 6) + ":",
        " " * large + "3 m",
        "=" * large + "<answer>3 m</answer>",
        "\ud800" * large,
    ]
    for action in actions:
        env.reset(seed=0)
        begun = time.process_time()
        *_, info = env.step(action)
        # A backtracking pattern would take hours.
        assert time.process_time() - begun < 3, action[:40]
        assert not info["won"] and len(info["answer"]) <= 200
