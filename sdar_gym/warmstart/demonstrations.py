"""Demonstrations: an expert's episodes to train on and to measure the held-out loss, as token sequences."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.trajectory import Episode, TokenSequence
from sdar_gym.warmstart.demonstrator import DemonstrationError, Demonstrator

# Useless episodes after which there is no point in playing on.
_PATIENCE = 20
# What to do about episodes that are cut, by how they ended.
_REMEDIES = {
    "prompt_too_long": "a prompt is longer than rollout.max_prompt_tokens={0.max_prompt_tokens}. Raise it, or use a "
    "shorter rollout.prompt",
    "context_full": "the conversation has no room for another turn. Raise rollout.max_context_tokens, lower "
    "rollout.max_response_tokens, show fewer lists of actions (rollout.show_actions), or take a model with a longer "
    "context",
}


@dataclass(slots=True)
class Demonstrations:
    """An expert's episodes.

    Attributes:
        train: Those to train on.
        held_out: Those of other tasks of the training split.
        unsolved: Tasks that the expert did not solve, which are left out.
        cut: Episodes that end early, or are left out, since a prompt is too long: numbers by `Episode.ended`.
    """

    train: list[Episode] = field(default_factory=list)
    held_out: list[Episode] = field(default_factory=list)
    unsolved: int = 0
    cut: Counter[str] = field(default_factory=Counter)

    def digest(self) -> str:
        """SHA-256 of all token sequences: equal digests make equal training runs."""
        digest = hashlib.sha256()
        for name in ("train", "held_out"):
            for sequence in sequences_of(getattr(self, name)):
                spans = [(span.start, span.stop) for span in sequence.spans]
                digest.update(repr((name, sequence.ids, spans)).encode())
        return digest.hexdigest()

    def add(self, episode: Episode | None, kept: list[Episode]) -> bool:
        """Counts an episode, and adds it to a list if it has turns.

        Args:
            episode: The episode; None if the expert did not solve the task.
            kept: `train` or `held_out`.

        Returns:
            Whether it was added.
        """
        if episode is None:
            self.unsolved += 1
            return False
        if episode.ended in _REMEDIES:
            self.cut[episode.ended] += 1
        if episode.turns:
            kept.append(episode)
        return bool(episode.turns)


def sequences_of(episodes: Iterable[Episode]) -> list[TokenSequence]:
    """The token sequences of episodes, in order."""
    return [sequence for episode in episodes for sequence in episode.sequences]


def demonstrate(
    run: RunConfig, tokenizer: Any, report: Callable[[int, int], None] = lambda done, total: None
) -> Demonstrations:
    """Plays the expert in tasks of the training split, which `seed` chooses.

    Held-out episodes are of training tasks too, and share no leakage group with those trained on. The evaluation
    split is never touched: it measures success afterwards, and would not if epochs or learning rate were chosen by it.

    Args:
        run: The configuration.
        tokenizer: The policy's.
        report: Called with the numbers of finished and of all episodes.

    Raises:
        DemonstrationError: There is nothing to train on, most prompts are too long, or a response cannot be written.
    """
    settings = run.warmstart
    result = Demonstrations()
    env = make_env(run.env, run.env_config)
    try:
        demonstrator = Demonstrator(run, tokenizer, env)
        tasks = iter(_shuffled(env.task_ids(), run.seed))
        total = settings.held_out + settings.episodes
        groups: set[str] = set()
        for goal, kept in ((settings.held_out, result.held_out), (settings.episodes, result.train)):
            while len(kept) < goal:
                task_id = next(tasks, None)
                if task_id is None:
                    break
                if kept is result.train and env.task_group(task_id) in groups:
                    continue
                if result.add(demonstrator.episode(task_id), kept) and kept is result.held_out:
                    groups.add(env.task_group(task_id))
                _refuse_unusable(run, result, finished=False)
                report(len(result.held_out) + len(result.train), total)
    finally:
        env.close()
    _refuse_unusable(run, result, finished=True)
    return result


def _refuse_unusable(run: RunConfig, result: Demonstrations, *, finished: bool) -> None:
    episodes = [*result.train, *result.held_out]
    whole, cut = sum(episode.ended not in _REMEDIES for episode in episodes), result.cut.total()
    if cut > (whole if finished else whole + _PATIENCE):
        ((ended, _),) = result.cut.most_common(1)
        raise DemonstrationError(
            f"{cut} of the expert's {cut + whole} episodes end early or are left out, since "
            f"{_REMEDIES[ended].format(run.rollout)}."
        )
    if result.unsolved > _PATIENCE * (len(episodes) + 1) or (finished and not result.train):
        raise DemonstrationError(
            f"There are too few episodes to train on: the expert of {run.env} left {result.unsolved} training task(s) "
            f"unsolved, and {len(result.held_out)} are held out, with all tasks of their leakage groups. Correct the "
            "expert, or lower warmstart.held_out."
        )


def _shuffled(task_ids: Iterable[str], seed: int) -> Iterator[str]:
    """The tasks in an order that depends on seed and ids alone."""
    return iter(sorted(task_ids, key=lambda one: hashlib.sha256(f"warm start {seed} {one}".encode()).digest()))
