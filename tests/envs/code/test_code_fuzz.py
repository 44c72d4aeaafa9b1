"""Fuzzed actions of `CodeEnv`: most are no programs; none raises or leaks, and the sandbox runs the others."""

from __future__ import annotations

import random
import tracemalloc

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.code.env import CodeEnv

PIECES = (
    *(
        "```",
        "```python\n",
        "```py\n",
        "\n```",
        "<answer>",
        "</answer>",
        "<think>",
        "</think>",
        "\n",
        "\r\n",
        "\t",
        "    ",
    ),
    *(
        "def f(xs):",
        "def f(s): ",
        "return ",
        "return xs",
        "lambda: 0",
        "class A:",
        "import os",
        "print(",
        ")",
        "(",
        "[",
        "]",
    ),
    *(
        "\ud800",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "é",
        "中文",
        "🙂",
        "'",
        '"',
        '"""',
        "\\",
        "#",
        ";",
        "x" * 300,
        "1",
        "9" * 50,
        "=",
        ":",
    ),
    *("while 0: pass", "0x", "1_", "yield", "await x", "async def", "*", "**", "~", "not ", "%s", "{}", "f'{", "}'"),
)


def nonsense(rng: random.Random) -> str:
    text = "".join(PIECES[int(rng.random() * len(PIECES))] for _ in range(int(rng.random() * 9)))
    kind = int(rng.random() * 40)
    if kind < 2:
        return f"```python\n{text}\n```"
    return f"<answer>{text}</answer>" if kind == 2 else text


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("actions", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_no_action_raises_or_leaks(actions: int) -> None:
    env = gymnasium.make("sdar/Code-v0", split="dev", levels=[1], max_steps=5, time_limit=0.2).unwrapped
    assert isinstance(env, CodeEnv)
    rng = random.Random(5)
    env.reset(seed=0)
    seen = {"invalid": 0, "not run": 0, "run": 0}
    size = 0
    for number in range(actions):
        observation, reward, terminated, truncated, info = env.step(nonsense(rng))
        assert isinstance(observation, str) and reward == float(info["won"])
        seen["invalid"] += not info["action_valid"]
        run = " tests passed: " in info["feedback"] or info["won"]
        seen["run" if run else "not run"] += 1
        if terminated or truncated:
            env.reset()
        if number == actions // 5:
            tracemalloc.start()
            size = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - size
    tracemalloc.stop()
    assert min(seen.values()) > actions // 1000, seen
    # Kept judgements; a leak per episode would be far larger.
    assert grown < 30_000_000
    statistics = env._pool().statistics()
    assert statistics.jobs > actions // 1000
    assert statistics.jobs_failed == 0 and statistics.servers_replaced == 0
