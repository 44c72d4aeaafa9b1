"""Played contexts of a plan: tasks of a run with a window and as a conversation, and the lengths of the episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sdar_gym.configs.schema import RunConfig
from sdar_gym.plan.scripted_play import POLICIES, planned_tasks, play_scripted, scripted_policy
from sdar_gym.plan.work import sampled_in
from sdar_gym.rollout.trajectory import Episode

CONTEXTS = ("window", "conversation")
# Tokens of a response that reasons first: within what users report of ALFWorld runs, 100 to 200.
RESPONSE_TOKENS = 150
TASKS = 8
# Episodes by context and policy.
PlayedEpisodes = Mapping[str, Mapping[str, Sequence[Episode]]]


@dataclass(frozen=True, slots=True)
class Played:
    """Mean lengths of the measured episodes, in tokens.

    Attributes:
        episodes: Number of them.
        success: Share that was won.
        turns: Turns an episode.
        prompt: Tokens that the engine reads a turn.
        response: Tokens sampled a turn.
        longest_sequence: Longest sequence of the learner.
        context_full: Share that ended because their conversation had no room for another turn.
        forks: Times an episode that a conversation began a new sequence, because the chat template rewrote its past.
    """

    episodes: int
    success: float
    turns: float
    prompt: float
    response: float
    longest_sequence: int
    context_full: float
    forks: float


def play_contexts(
    run: RunConfig,
    *,
    response_tokens: int = RESPONSE_TOKENS,
    tasks: int = TASKS,
    progress: Callable[[str], None] = lambda _: None,
) -> PlayedEpisodes:
    """Plays the run's first training tasks with each context and policy, as whole groups.

    Args:
        run: The configuration; of the model, only configuration and tokenizer are loaded.
        response_tokens: Assumed length of responses that reason first.
        tasks: Training tasks.
        progress: Is told what is being played.

    Raises:
        ValueError: The model's configuration or tokenizer cannot be loaded, or a task cannot be played.
    """
    if tasks < 1 or response_tokens < 1:
        raise ValueError(f"tasks and response_tokens must be at least 1, got {tasks} and {response_tokens}.")
    response_tokens = min(response_tokens, run.rollout.max_response_tokens)
    chosen, group = planned_tasks(run, tasks), run.training.group_size
    found: dict[str, dict[str, Sequence[Episode]]] = {}
    for context in CONTEXTS:
        variant = in_context(run, context)
        found[context] = {}
        for name in POLICIES:
            policy = scripted_policy(run.env, name)
            if policy is None:
                continue
            progress(f"{context}, {name} play of {len(chosen)} tasks")
            # An expert plays all members of a group alike.
            members = 1 if name == "expert" else group
            episodes = play_scripted(variant, policy, chosen, response_tokens=response_tokens, members=members)
            found[context][name] = episodes * (group // members)
    return found


def in_context(run: RunConfig, context: str) -> RunConfig:
    """The run with another context: a window lists actions at each turn, a conversation what changed."""
    rollout = run.rollout
    if rollout.context == context:
        return run
    shown = rollout.show_actions
    if context == "window":
        changed = replace(
            rollout,
            context="window",
            show_actions="each" if shown in ("first", "changes") else shown,
            max_context_tokens=None,
        )
    else:
        changed = replace(rollout, context="conversation", show_actions="changes" if shown == "each" else shown)
    return replace(run, rollout=changed)


def lengths_of(episodes: Sequence[Episode]) -> Played:
    """The mean lengths of episodes."""
    turns = [turn for episode in episodes for turn in episode.turns]
    sequences = [sequence for episode in episodes for sequence in episode.sequences]
    response = sum(len(turn.response_ids) for turn in turns)
    return Played(
        episodes=len(episodes),
        success=sum(episode.won for episode in episodes) / len(episodes),
        turns=len(turns) / len(episodes),
        prompt=sum(len(sequence.ids) - sampled_in(sequence) for sequence in sequences) / len(turns),
        response=response / len(turns),
        longest_sequence=max(len(sequence.ids) for sequence in sequences),
        context_full=sum(episode.ended == "context_full" for episode in episodes) / len(episodes),
        forks=sum(episode.context_forks for episode in episodes) / len(episodes),
    )
