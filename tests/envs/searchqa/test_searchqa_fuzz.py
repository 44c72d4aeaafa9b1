"""Adversarial action fuzzing: 100,000 actions must not raise, hang, or leak memory."""

from __future__ import annotations

import random
import time
import tracemalloc

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments

PIECES = (
    *("<search>", "</search>", "<answer>", "</answer>", "<search", "search>", "</", "<think>", "</think>", "<SEARCH>"),
    *("<information>", "\ud800", "\udfff", "\x00", "\x1b[2J", "\u202e", "\n", "\r\n", "\t", " ", "é", "中文", "🙂"),
    *("the", "a", "1943", "Wolmark", '"', "\\", "'", "{}", "%s", "&lt;", "who wrote", "\u0130", "x" * 300, "\u0301"),
)


def nonsense(rng: random.Random) -> str:
    text = "".join(PIECES[int(rng.random() * len(PIECES))] for _ in range(int(rng.random() * 12)))
    kind = int(rng.random() * 20)
    return f"<search>{text}</search>" if kind < 5 else f"<answer>{text}</answer>" if kind == 5 else text


@pytest.mark.parametrize("actions", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_no_action_raises_or_leaks(actions: int) -> None:
    env = gymnasium.make("sdar/SearchQA-v0", split="dev").unwrapped
    rng = random.Random(5)
    env.reset(seed=0)
    seen = {"searches": 0, "answers": 0, "invalid": 0}
    size = 0
    for number in range(actions):
        observation, reward, terminated, truncated, info = env.step(nonsense(rng))
        assert isinstance(observation, str) and reward == float(info["won"])
        seen["invalid"] += not info["action_valid"]
        seen["answers"] += terminated
        if terminated or truncated:
            seen["searches"] += info["searches"]
            env.reset()
        if number == actions // 5:
            tracemalloc.start()
            size = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - size
    tracemalloc.stop()
    assert min(seen.values()) > actions // 100, seen
    # Allows for the stemmer cache; a leak per episode would be far larger.
    assert grown < 8_000_000


def test_large_actions_take_linear_time() -> None:
    env = gymnasium.make("sdar/SearchQA-v0").unwrapped
    env.reset(seed=0)
    env.step("<search>warm</search>")
    large = 1_000_000
    actions = [
        "x" * large,
        "<" * large,
        "<search>" * (large // 8),
        "<search>" * (large // 8) + "</search>",
        "</search>" + "<answer>" * (large // 8),
        "<search>" + "who " * (large // 4) + "</search>",
        "<search>" + "a.b." * (large // 4) + "</search>",
        "<search>" + "\ud800" * large + "</search>",
        "<answer>" + "the a " * (large // 6) + "</answer>",
        "<answer>" + "!" * large + "</answer>",
        "<answer>" + "<answer>" * (large // 8) + "</answer>",
        "<answer>" + " \n" * (large // 2) + "</answer>",
    ]
    for action in actions:
        env.reset(seed=0)
        begun = time.process_time()
        _, _, _, _, info = env.step(action)
        # A backtracking pattern would take hours.
        assert time.process_time() - begun < 3, action[:40]
        assert not info["won"]
