"""Scoring again: the recorded actions of an evaluation played in the environment as it is now, without a policy.

The environment is reset with the task and the seed of the recording, so that a change in observations, rewards or
scores is a change of the environment or its scorer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sdar_gym.envs.text_env import TextEnv
from sdar_gym.paths import first_line
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.metrics import environment_metrics
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.text import well_formed

# How an episode ends by the environment; everything else is a limit of the evaluation or of the prompt.
_BY_ENVIRONMENT = ("won", "lost", "truncated")


@dataclass(frozen=True, slots=True)
class Rescored:
    """An episode that was scored again.

    Attributes:
        before: As it was recorded.
        now: As the environment scores it now; its `error` is set if the environment raised one.
        differences: In what they differ, one clause each; empty if they are equal.
    """

    before: Episode
    now: Episode
    differences: tuple[str, ...]


def rescore(
    env: TextEnv,
    episodes: Sequence[Episode],
    seed: int,
    finished: Callable[[Rescored], None] = lambda rescored: None,
) -> list[Rescored]:
    """Plays the actions of episodes again.

    Args:
        env: The environment.
        episodes: The recorded episodes.
        seed: `evaluation.seed` of the recording, from which each reset's seed follows.
        finished: Called with each one.
    """
    result = []
    for episode in episodes:
        now = _again(env, episode, seed)
        result.append(Rescored(episode, now, tuple(_differences(episode, now))))
        finished(result[-1])
    return result


def _again(env: TextEnv, before: Episode, seed: int) -> Episode:
    """The episode with the recorded actions as far as the environment takes them."""
    now = replace(before, turns=[], won=False, score=0.0, metrics={})
    reset_seed = EpisodeRequest(before.task_id, before.group_id, before.member, seed).reset_seed
    try:
        observation, info = env.reset(seed=reset_seed, options={"task_id": before.task_id})
        now.task_type, now.split, now.goal = info["task_type"], info["split"], info["goal"]
        reference = info.get("reference")
        now.reference = well_formed(reference) if isinstance(reference, str) else ""
        ended = ""
        for turn in before.turns:
            shown = tuple(info["admissible_actions"])
            seen, reward, terminated, truncated, info = env.step(turn.action)
            feedback = info.get("feedback")
            now.turns.append(
                replace(
                    turn,
                    observation=observation,
                    admissible_actions=shown if turn.admissible_actions else (),
                    valid_action=bool(info["action_valid"]),
                    reward=float(reward),
                    feedback=well_formed(feedback) if isinstance(feedback, str) else None,
                )
            )
            observation = seen
            if terminated or truncated:
                ended = "won" if info["won"] else "lost" if terminated else "truncated"
                break
    except Exception as error:
        now.ended, now.error = "error", f"Task {before.task_id!r}: {type(error).__name__}: {first_line(error)}"
        return now
    # An episode that a limit ended, and not the environment, ends there as before.
    now.ended = ended or ("unfinished" if before.ended in _BY_ENVIRONMENT and not before.limit else before.ended)
    now.limit = "" if ended else before.limit
    now.won, now.score, now.metrics = bool(info["won"]), float(info["score"]), environment_metrics(info)
    return now


def _differences(before: Episode, now: Episode) -> list[str]:
    if now.error:
        return [now.error]
    found = []
    if len(now.turns) < len(before.turns):
        found.append(f"it ends after turn {len(now.turns)} of {len(before.turns)}")
    found += [
        f"{name} {getattr(before, name)!r} -> {getattr(now, name)!r}"
        for name in ("goal", "task_type", "reference", "won", "score", "ended", "metrics")
        if getattr(before, name) != getattr(now, name)
    ]
    pairs = list(zip(before.turns, now.turns, strict=False))
    for name in ("observation", "reward", "valid_action", "feedback"):
        turns = [number for number, (old, new) in enumerate(pairs, start=1) if getattr(old, name) != getattr(new, name)]
        if turns:
            found.append(f"{name} of turn {turns[0]}{f' and {len(turns) - 1} more' if len(turns) > 1 else ''}")
    return found
