"""Measures the viewer's page of a large run: writing it, and the time until a browser shows the list and an episode.

    python benchmarks/viewer.py [--megabytes 100] [--repeats 5] [--json OUT]

The run is made of copies of episodes of the quick start's environment, played by its scripted expert with admissible
actions, until the files of episodes have the wanted size. Chromium (headless, a fresh profile each time) opens the page
from its file. Time counts from the navigation to the first row on the screen, and from the click to the first turn. The
same page with everything in one file is measured beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine, machine_line

from sdar_gym.envs.policies import expert_of
from sdar_gym.rollout.environments import make_env
from sdar_gym.viewer import page as page_module
from sdar_gym.viewer.page import write_page
from sdar_gym.viewer.recording import Recording

ENV = "sdar/ALFWorld-v0"


def played(tasks: int) -> list[dict[str, Any]]:
    """Episodes of the expert in full-size rooms, in the form of a run's files."""
    env = make_env(ENV, {"games": "generated", "max_steps": 50})
    expert = expert_of(ENV)
    assert expert is not None
    episodes = []
    for number, task in enumerate(env.task_ids()[:tasks]):
        observation, info = env.reset(seed=0, options={"task_id": task})
        expert.begin(env, observation, info)
        turns: list[dict[str, Any]] = []
        over = False
        while not over:
            action = expert.act(observation, info)
            turn = {
                "observation": observation,
                "admissible_actions": list(info["admissible_actions"]),
                "response": f"<think>I should {action} next.</think><action>{action}</action>",
                "action": action,
                "valid_form": True,
                "prompt_tokens": 900,
                "response_tokens": 30,
            }
            observation, reward, terminated, truncated, info = env.step(action)
            turns.append({**turn, "reward": reward, "valid_action": bool(info["action_valid"])})
            over = terminated or truncated
        episodes.append(
            {
                "episode_id": f"{number}/0",
                "task_id": task,
                "task_type": info["task_type"],
                "split": info["split"],
                "goal": info["goal"],
                "won": bool(info["won"]),
                "reward": sum(turn["reward"] for turn in turns),
                "ended": "won" if info["won"] else "truncated",
                "skills": [],
                "turns": turns,
            }
        )
    env.close()
    return episodes


def make_run(folder: Path, megabytes: float) -> tuple[int, int]:
    """Writes a run of so many megabytes of episodes; returns the number of episodes and of bytes."""
    episodes = played(64)
    (folder / "episodes").mkdir(parents=True)
    written = count = update = 0
    records = []
    while written < megabytes * 1e6:
        lines = []
        for number in range(512):
            # Every copy is another text, so that compression has no easier work than with real episodes.
            episode = episodes[(count + number) % len(episodes)]
            text = json.dumps({**episode, "episode_id": f"{number}/0"})
            lines.append(text.replace("You ", f"You{(count + number) % 997} "))
        content = "\n".join(lines) + "\n"
        (folder / "episodes" / f"eval-{update:05d}.jsonl").write_text(content, encoding="utf-8")
        records.append({"update": update, "evaluation": {"success": 0.5, "success_low": 0.4, "success_high": 0.6}})
        written, count, update = written + len(content), count + 512, update + 10
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return count, written


def opened(file: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds until the first row and until the first turn, of each repeat."""
    from playwright.sync_api import sync_playwright

    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if binary is None:
        raise SystemExit("Chromium is needed: apt-get install chromium")
    seconds: dict[str, list[float]] = {"list": [], "episode": []}
    with sync_playwright() as running:
        for _ in range(repeats):
            browser = running.chromium.launch(executable_path=binary, args=["--no-sandbox"])
            tab = browser.new_page()
            tab.goto("about:blank")
            started = time.perf_counter()
            tab.goto(f"{file.as_uri()}#/episodes", wait_until="commit")
            tab.wait_for_selector("a.row")
            seconds["list"].append(time.perf_counter() - started)
            row = tab.locator("a.row").nth(5)
            started = time.perf_counter()
            row.click()
            tab.wait_for_selector("article")
            seconds["episode"].append(time.perf_counter() - started)
            browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "large-run"
        episodes, size = make_run(folder, options.megabytes)
        result: dict[str, Any] = {
            "command": f"python benchmarks/viewer.py --megabytes {options.megabytes:g} --repeats {options.repeats}",
            "machine": machine(),
            "episodes": episodes,
            "megabytes": round(size / 1e6, 1),
            "pages": {},
        }
        for kind, limit in (("chunks beside the page", 0), ("one file", 10**12)):
            page_module.LARGEST_FILE = limit
            started = time.perf_counter()
            path, data = write_page([Recording(folder)])
            written = time.perf_counter() - started
            seconds = opened(path, options.repeats)
            result["pages"][kind] = {
                "seconds_to_write": round(written, 2),
                "page_megabytes": round(path.stat().st_size / 1e6, 2),
                "chunks": len(data.chunks),
                "chunk_megabytes": round(sum(map(len, data.chunks)) / 1e6, 2),
                "seconds_to_list": [round(value, 3) for value in seconds["list"]],
                "seconds_to_episode": [round(value, 3) for value in seconds["episode"]],
            }
            print(
                f"{kind}: written in {written:.1f} s; list after {median(seconds['list']):.2f} s "
                f"({min(seconds['list']):.2f} to {max(seconds['list']):.2f}), episode after "
                f"{median(seconds['episode']):.2f} s ({min(seconds['episode']):.2f} to {max(seconds['episode']):.2f})"
            )
        print(f"{episodes} episodes, {size / 1e6:.0f} MB; {machine_line(result['machine'])}")
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
