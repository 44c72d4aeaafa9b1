"""Adversarial actions: none raises, hangs or leaks memory."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from pathlib import Path

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments

PIECES = (
    *(
        r"\boxed{",
        "}",
        "{",
        r"\{",
        r"\}",
        "<answer>",
        "</answer>",
        "<think>",
        "</think>",
        r"\frac",
        r"\frac{",
        r"\sqrt",
    ),
    *(
        "1",
        "2",
        "17",
        "0.5",
        "1,000",
        "-",
        "+",
        "=",
        "x",
        "^",
        "_",
        "(",
        ")",
        "[",
        "]",
        ",",
        ";",
        "%",
        "$",
        "&",
        "\\\\",
    ),
    *(r"\cup", r"\pm", r"\infty", r"\text{", "cm", "base", "and", "or", r"\begin{pmatrix}", r"\end{pmatrix}", r"\circ"),
    *("\ud800", "\x00", "\x02", "\x03", "\u202e", "\n", "\t", " ", "é", "中", "🙂", "٣", "e999", "9" * 30, "10^", "/"),
)


def nonsense(rng: random.Random) -> str:
    text = "".join(PIECES[int(rng.random() * len(PIECES))] for _ in range(int(rng.random() * 14)))
    kind = int(rng.random() * 6)
    return f"\\boxed{{{text}}}" if kind < 3 else f"<answer>{text}</answer>" if kind == 3 else text


@pytest.mark.parametrize("actions", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_no_action_raises_or_leaks(actions: int) -> None:
    env = gymnasium.make("sdar/Math-v0", split="dev", max_steps=3).unwrapped
    rng = random.Random(5)
    env.reset(seed=0)
    seen = {"answers": 0, "invalid": 0}
    size = 0
    for number in range(actions):
        observation, reward, terminated, truncated, info = env.step(nonsense(rng))
        assert isinstance(observation, str) and reward == float(info["won"])
        seen["invalid"] += not info["action_valid"]
        seen["answers"] += info["action_valid"]
        if terminated or truncated:
            env.reset()
        if number == actions // 5:
            tracemalloc.start()
            size = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - size
    tracemalloc.stop()
    assert min(seen.values()) > actions // 100, seen
    # Allows for the cache of answers that were read; a leak per episode would be far larger.
    assert grown < 12_000_000


def test_no_action_raises_where_expressions_are_compared(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    answers = (r"2\sqrt{2}", "5", r"[0,\sqrt{2})", r"\frac{\pi}{2}", "x^2+1", "y=2x+1", r"1\pm\sqrt3", "(1,2)")
    file = tmp_path / "own.jsonl"
    file.write_text("".join(f"{json.dumps({'problem': f'Problem {a}?', 'answer': a})}\n" for a in answers))
    env = gymnasium.make("sdar/Math-v0", problems=file, check_timeout=1.0).unwrapped
    rng = random.Random(3)
    env.reset(seed=0)
    for _ in range(1500):
        begun = time.monotonic()
        env.step(nonsense(rng))
        # One that is stopped waits for the process to be replaced.
        assert time.monotonic() - begun < 60
        env.reset()


def test_large_actions_take_linear_time() -> None:
    env = gymnasium.make("sdar/Math-v0").unwrapped
    large = 1_000_000
    actions = [piece * (large // len(piece)) for piece in PIECES]
    actions += [f"\\boxed{{{action}}}" for action in actions]
    actions += [f"\\boxed{{{piece * (1990 // len(piece))}}}" for piece in PIECES]
    actions += ["1=1\n" * (large // 4) + "\\boxed{1000000}"]
    for action in actions:
        env.reset(seed=0)
        begun = time.process_time()
        _, _, _, _, info = env.step(action)
        # A backtracking pattern would take hours.
        assert time.process_time() - begun < 3, action[:40]
        assert not info["won"]
