"""Rollouts: the episodes of each update, played between the updates or one update ahead, while the learner learns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdar_gym.algorithms.sdar.background import Background
from sdar_gym.algorithms.sdar.held_weights import HeldWeights
from sdar_gym.algorithms.sdar.rollout_dispatcher import RolloutDispatcher
from sdar_gym.algorithms.sdar.trust_episodes import TrustEpisodes
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.trajectory import Episode


@dataclass(frozen=True, slots=True)
class Rollout:
    """The episodes of one update.

    Attributes:
        episodes: The episodes, by group and member.
        requested: Number of requested episodes.
        trust: Episodes that the teacher's skills are judged by; None if there are none.
        faults: What runners did not survive, and what they survived, by name.
        seconds: How long they were played.
        waited: How long the learner waited for them.
    """

    episodes: list[Episode]
    requested: int
    trust: list[Episode] | None
    faults: dict[str, int]
    seconds: float
    waited: float

    def staleness(self, step: int) -> dict[str, float]:
        """By how many updates the weights that sampled the tokens were behind, mean and largest over the tokens.

        Args:
            step: Number of completed updates.
        """
        behind = [(step - turn.weight_version, len(turn.response_ids)) for each in self.episodes for turn in each.turns]
        tokens = sum(count for _, count in behind)
        return {
            "staleness_mean": sum(updates * count for updates, count in behind) / max(1, tokens),
            "staleness_max": float(max((updates for updates, _ in behind), default=0)),
        }


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What is played ahead.

    Attributes:
        step: Number of completed updates before its update.
        weights: Those it is played with.
        settled: Task types that needed no more trust episodes when it began.
    """

    step: int
    weights: HeldWeights
    settled: frozenset[str]


class Rollouts:
    """Plays the episodes of an update.

    With `max_staleness` 1 the episodes of update n, for n > 1, are played with the weights before update n - 1, always:
    they begin when these weights exist, and are played while update n - 1 is computed. So results do not depend on
    time, and the weights in use are all that a resumed run needs to play the episodes in flight again.

    Args:
        dispatcher: Plays episodes.
        trust_episodes: Plays those that the teacher is judged by.
        requests: The episodes of an update by the number of completed updates.
        group_size: Episodes of a group.
        skills_in_prompt: Whether the acting policy sees the skills.
        max_staleness: Updates by which weights may be behind, 0 or 1.
        iterations: Updates of the run; none is played ahead after the last one.
    """

    def __init__(
        self,
        dispatcher: RolloutDispatcher,
        trust_episodes: TrustEpisodes,
        requests: Callable[[int], Sequence[EpisodeRequest]],
        *,
        group_size: int,
        skills_in_prompt: bool,
        max_staleness: int,
        iterations: int,
    ):
        self._dispatcher = dispatcher
        self._trust_episodes = trust_episodes
        self._requests = requests
        self._group_size = group_size
        self._skills_in_prompt = skills_in_prompt
        self._ahead = max_staleness > 0
        self._iterations = iterations
        self._next: _Ahead | None = None
        self._pending: Background[Rollout] | None = None

    @property
    def in_flight(self) -> bool:
        """Whether episodes are played at this moment, so that nobody else may use the runners."""
        return self._pending is not None and not self._pending.done

    def pause(self) -> None:
        """Waits until no episodes are played, so that others may use the runners; the next update has them."""
        if self._pending is not None:
            self._pending.wait()
        self._dispatcher.release()

    def abandon(self) -> None:
        """Ends what is played at this moment, and its runners."""
        if self.in_flight:
            self._dispatcher.abandon()

    def take(self, step: int) -> Rollout:
        """The episodes of the next update; with `max_staleness`, those of the one after it are begun.

        Args:
            step: Number of completed updates.

        Raises:
            RolloutError: They cannot be played.
        """
        started = time.perf_counter()
        if self._pending is not None:
            # A signal may end the run here: then they are in flight still, and `abandon` ends them.
            self._pending.wait()
        try:
            rollout = self._play_now(step) if self._pending is None else self._pending.result()
        finally:
            self._pending, self._next = None, None
            self._dispatcher.release()
        if not self._ahead:
            return rollout
        rollout = replace(rollout, waited=time.perf_counter() - started)
        self._begin(step + 1)
        return rollout

    def get_state(self) -> dict[str, Any]:
        """What plays the episodes in flight, weights and settled types; empty if there are none."""
        if self._next is None:
            return {}
        return {"step": self._next.step, "settled": sorted(self._next.settled), **self._next.weights.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores a state: the next episodes are played with its weights.

        Args:
            state: Of `get_state`.
        """
        self.pause()
        self._pending = None
        self._next = None
        if state:
            self._next = _Ahead(state["step"], HeldWeights.from_state(state), frozenset(state["settled"]))

    def _play_now(self, step: int) -> Rollout:
        self._dispatcher.check_engines()
        settled = self._trust_episodes.trust.settled
        if self._next is not None and self._next.step == step:
            self._dispatcher.hold(self._next.weights)
            settled = self._next.settled
        return self._play(step, settled)

    def _begin(self, step: int) -> None:
        """Begins to play the episodes of an update ahead, with the weights as they are now."""
        self._dispatcher.bring_back()
        weights = self._dispatcher.take_weights()
        settled = self._trust_episodes.trust.settled
        self._next = _Ahead(step, weights, settled)
        if step >= self._iterations:
            return
        self._dispatcher.hold(weights)
        self._dispatcher.check_engines()
        self._pending = Background(lambda: self._play(step, settled), "sdar-gym rollouts")

    def _play(self, step: int, settled: frozenset[str]) -> Rollout:
        started = time.perf_counter()
        requests = self._requests(step)
        episodes = self._dispatcher.collect_training(
            requests, self._group_size, skills_in_prompt=self._skills_in_prompt, update=step + 1
        )
        trust = self._trust_episodes.play(step, requests, self._group_size, episodes, settled)
        seconds = time.perf_counter() - started
        return Rollout(episodes, len(requests), trust, self._dispatcher.take_faults(), seconds, seconds)
