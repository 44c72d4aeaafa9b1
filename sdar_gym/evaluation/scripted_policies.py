"""What can be had without a model: the random policy and the expert, on every split of every environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium

from sdar_gym.envs.policies import RandomPolicy, ScriptedPolicy, expert_of
from sdar_gym.envs.registry import entries, entry_of
from sdar_gym.envs.tasks import TaskPanel, freeze_panel
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.evaluation.summary import wilson_interval

POLICIES = ("random", "expert")


@dataclass(frozen=True, slots=True)
class Baseline:
    """One policy on one panel.

    Attributes:
        success: Share of episodes won, with the 95 % Wilson interval `success_low` to `success_high`.
        mean_score: Mean of the last score of each episode.
        mean_turns: Turns an episode took.
        invalid_actions: Share of turns whose action the world did not understand.
    """

    env_id: str
    split: str
    policy: str
    panel: str
    panel_hash: str
    tasks: int
    success: float
    success_low: float
    success_high: float
    mean_score: float
    mean_turns: float
    invalid_actions: float
    seed: int


def split_panel(env_id: str, env: TextEnv, split: str, size: int) -> TaskPanel:
    """The frozen panel of a split: the same tasks that an evaluation of this size plays.

    Raises:
        ValueError: No such split, or a size below 1.
    """
    ids = env.task_ids(split)
    types = {task_id: env.task_type(task_id) for task_id in ids}
    return freeze_panel(f"{split}-{min(size, len(ids))}", env_id, ids, size, types)


def play(env: TextEnv, policy: ScriptedPolicy, panel: TaskPanel) -> list[dict[str, Any]]:
    """The last `info` of an episode of each task, and under `invalid` how many actions were not understood."""
    ends = []
    for task_id in panel.task_ids:
        observation, info = env.reset(options={"task_id": task_id})
        policy.begin(env, observation, info)
        invalid, over = 0, False
        while not over:
            observation, _, terminated, truncated, info = env.step(policy.act(observation, info))
            invalid += not info["action_valid"]
            over = terminated or truncated
        ends.append({**info, "invalid": invalid})
    return ends


def measure_baselines(
    env_ids: Sequence[str] = (),
    tasks: int = 200,
    seed: int = 0,
    report: Callable[[str], None] = lambda what: None,
) -> list[Baseline]:
    """Play every split's panel with each policy, on the data that `gymnasium.make(id)` plays without arguments.

    Args:
        env_ids: Registered environments; default all.
        tasks: Size of the panels.
        seed: Of the random policy.
        report: Called with what is played next.

    Raises:
        ValueError: An environment is not registered, or `tasks` is below 1.
    """
    if tasks < 1:
        raise ValueError(f"A baseline needs at least one task a split, got {tasks}.")
    result = []
    for env_id in env_ids or [entry.id for entry in entries()]:
        entry_of(env_id)
        env = gymnasium.make(env_id).unwrapped
        if not isinstance(env, TextEnv):
            raise ValueError(f"{env_id} is no TextEnv: {type(env).__name__}.")
        for split in env.splits:
            panel = split_panel(env_id, env, split, tasks)
            for name in POLICIES:
                policy = RandomPolicy(seed) if name == "random" else expert_of(env_id)
                if policy is None:
                    continue
                report(f"{env_id} {split} {name}")
                result.append(_summary(env_id, split, name, panel, play(env, policy, panel), seed))
        env.close()
    return result


def markdown(rows: Sequence[Baseline], command: str) -> str:
    """The page of the table."""
    lines = [
        "# Baselines without a model",
        "",
        f"Made by `{command}`.",
        "The data is the embedded one of each environment; panels are frozen, and results compare only under the same",
        "panel hash. Success with 95 % Wilson intervals; the score is the mean of the last one of each episode. The",
        "random policy draws from the admissible actions (where there are none, any text); the expert is scripted and",
        "may read the hidden state, so it bounds what can be reached and is no agent to compare with.",
        "",
        "| environment | split | policy | success | score | turns | invalid actions | tasks | panel hash |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row.env_id}` | {row.split} | {row.policy} | {row.success:.3f} [{row.success_low:.3f}, "
        f"{row.success_high:.3f}] | {row.mean_score:.3f} | {row.mean_turns:.1f} | {row.invalid_actions:.3f} | "
        f"{row.tasks} | `{row.panel_hash}` |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _summary(
    env_id: str, split: str, policy: str, panel: TaskPanel, ends: Sequence[dict[str, Any]], seed: int
) -> Baseline:
    played = len(ends)
    wins = sum(end["won"] for end in ends)
    low, high = wilson_interval(wins, played)
    turns = sum(end["turn"] for end in ends)
    return Baseline(
        env_id=env_id,
        split=split,
        policy=policy,
        panel=panel.name,
        panel_hash=panel.hash,
        tasks=played,
        success=wins / played,
        success_low=low,
        success_high=high,
        mean_score=sum(end["score"] for end in ends) / played,
        mean_turns=turns / played,
        invalid_actions=sum(end["invalid"] for end in ends) / max(1, turns),
        seed=seed,
    )
