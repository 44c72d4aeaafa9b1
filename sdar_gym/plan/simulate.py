"""Simulation of a run on many machines: discrete events of rollouts, stragglers, staleness and failures.

No model is loaded and nothing is trained. Episodes are lists of turns; an engine decodes all that it holds at the same
time, so that a step takes longer the more there are, and the last ones of an update run nearly alone.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of an episode.

    Attributes:
        read: Tokens of its prompt that the engine reads.
        sampled: Tokens of its response.
    """

    read: int
    sampled: int


@dataclass(frozen=True, slots=True)
class EngineModel:
    """The times of an engine, from a plan or from measurements.

    Attributes:
        step: Seconds of a decoding step beside what follows: kernels, scheduling, reading the weights.
        step_each: Seconds of a step for each episode in it, by its keys and values or by its operations.
        read: Seconds a prompt token.
        turn: Seconds that a turn takes beside the engine: environment and prompt. Other episodes go on meanwhile.
        turn_blocks: Seconds of a turn in which the engine waits too, as where both are one process.
        slots: Most episodes at a time; the next begins where one has ended.
    """

    step: float
    step_each: float = 0.0
    read: float = 0.0
    turn: float = 0.0
    turn_blocks: float = 0.0
    slots: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a run is spread over.

    Attributes:
        runners: Env runners, with an engine each.
        engine: Their times.
        update: Seconds of an update on the learners, from scores to the step.
        sync: Seconds of sending new weights.
        staleness: Updates by which the weights of a rollout may be older than those it is learned by; 0 is synchronous.
        node_hours: Mean hours between two failures of one machine; infinite for none.
        runners_per_node: Runners that one failure takes away.
        learner_nodes: Machines whose failure takes the learners away.
        restart: Seconds until a lost runner or learner is back.
        checkpoint_interval: Updates that are done again, at most, after a learner was lost.
    """

    runners: int
    engine: EngineModel
    update: float
    sync: float = 0.0
    staleness: int = 0
    node_hours: float = math.inf
    runners_per_node: int = 1
    learner_nodes: int = 1
    restart: float = 120.0
    checkpoint_interval: int = 10

    def __post_init__(self) -> None:
        if self.runners < 1 or self.staleness < 0 or self.checkpoint_interval < 1:
            raise ValueError(
                f"A cluster needs a runner, a staleness of at least 0 and a checkpoint interval of at least 1, got "
                f"{self.runners}, {self.staleness} and {self.checkpoint_interval}."
            )


@dataclass(slots=True)
class Simulated:
    """What a simulated run took.

    Attributes:
        seconds: Of the whole run.
        updates: That were learned from, without those done again.
        rollouts: Seconds of each rollout.
        runner_busy: Share of the runners' time in which they play.
        learner_busy: Share of the learners' time in which they learn.
        stale: Mean age of the weights of an episode, in updates.
        lost_parts: Parts of a rollout that were played again.
        lost_updates: Updates that were done again.
    """

    seconds: float = 0.0
    updates: int = 0
    rollouts: list[float] = field(default_factory=list)
    runner_busy: float = 0.0
    learner_busy: float = 0.0
    stale: float = 0.0
    lost_parts: int = 0
    lost_updates: int = 0

    @property
    def update_seconds(self) -> float:
        """Seconds of the run for each update."""
        return self.seconds / max(1, self.updates)


def play(episodes: Sequence[Sequence[Turn]], engine: EngineModel) -> float:
    """Seconds until an engine has played episodes that all begin at once.

    Args:
        episodes: Their turns.
        engine: Its times.
    """
    waiting = deque(episode for episode in episodes if episode)
    # Decoding turns end at a number of steps, turns at the environment at a time.
    decoding: list[tuple[float, int, Sequence[Turn], int]] = []
    outside: list[tuple[float, int, Sequence[Turn], int]] = []
    now = steps = 0.0
    held = number = 0

    def begin(episode: Sequence[Turn], turn: int) -> None:
        nonlocal now, number
        now += engine.read * episode[turn].read
        number += 1
        heapq.heappush(decoding, (steps + episode[turn].sampled, number, episode, turn))

    while waiting or decoding or outside:
        while waiting and held < engine.slots:
            held += 1
            begin(waiting.popleft(), 0)
        each = engine.step + engine.step_each * len(decoding)
        ends = now + (decoding[0][0] - steps) * each if decoding else math.inf
        if outside and outside[0][0] <= ends:
            back, _, episode, turn = heapq.heappop(outside)
            if back > now:
                # Without an episode to decode the engine waits.
                steps += (back - now) / each if decoding else 0.0
                now = back
            begin(episode, turn)
            continue
        until, _, episode, turn = heapq.heappop(decoding)
        now, steps = max(now, ends), until
        now += engine.turn_blocks
        if turn + 1 == len(episode):
            held -= 1
        elif engine.turn:
            number += 1
            heapq.heappush(outside, (now + engine.turn, number, episode, turn + 1))
        else:
            begin(episode, turn + 1)
    return now


def parts_of(groups: Sequence[Sequence[Sequence[Turn]]], runners: int) -> list[list[Sequence[Turn]]]:
    """The episodes of each runner: whole groups in turn, as the dispatcher gives them out."""
    return [[episode for group in groups[first::runners] for episode in group] for first in range(runners)]


def simulate(
    rollouts: Sequence[Sequence[Sequence[Sequence[Turn]]]],
    cluster: Cluster,
    updates: int,
    seed: int = 0,
    times: Sequence[Sequence[float]] | None = None,
) -> Simulated:
    """Simulates a run.

    A rollout is over when its last part is; parts of lost runners are then played again by the others. With staleness
    k, the rollout of update n begins when that of n - 1 is over and the weights of update n - 1 - k are there.

    Args:
        rollouts: Groups of episodes of an update, used in turn.
        cluster: Where it runs.
        updates: Number of updates.
        seed: Of the failures.
        times: Seconds of each runner's part of a rollout, where they are known; then `rollouts` are not read.
    """
    rng = random.Random(seed)
    times = times or [[play(part, cluster.engine) for part in parts_of(groups, cluster.runners)] for groups in rollouts]
    result = Simulated(updates=updates)
    # When the weights after an update are there; before the first one at once.
    ready: dict[int, float] = {-1: 0.0}
    done = -1
    rolled = learned = played = 0.0
    begun, ages = 0, []
    while done + 1 < updates:
        # The newest weights that may be used, and those that are there by then.
        step = begun
        oldest = step - 1 - cluster.staleness
        start = max(rolled, ready.get(max(-1, oldest), 0.0))
        newest = max(version for version, at in ready.items() if at <= start)
        ages.append(step - 1 - min(newest, step - 1))
        seconds, busy, lost = _rollout(times[step % len(times)], cluster, rng)
        result.rollouts.append(seconds)
        result.lost_parts += lost
        played += busy
        rolled = start + seconds
        begins = max(rolled, ready[step - 1])
        if rng.random() < _chance((cluster.update + begins - ready[step - 1]) * cluster.learner_nodes, cluster):
            # The learners go back to the last checkpoint.
            kept = (step // cluster.checkpoint_interval) * cluster.checkpoint_interval
            result.lost_updates += step - kept
            again = begins + cluster.restart
            ready = {version: at for version, at in ready.items() if version < kept - 1} | {kept - 1: again}
            rolled, begun, done = again, kept, kept - 1
            continue
        learned += cluster.update
        ready[step] = begins + cluster.update + cluster.sync
        begun, done = step + 1, step
    result.seconds = ready[done]
    result.runner_busy = played / (cluster.runners * result.seconds) if result.seconds else 0.0
    result.learner_busy = learned / result.seconds if result.seconds else 0.0
    result.stale = sum(ages) / len(ages) if ages else 0.0
    return result


def _rollout(parts: Sequence[float], cluster: Cluster, rng: random.Random) -> tuple[float, float, int]:
    """Seconds of a rollout, those in which runners play, and the number of parts that were played again."""
    elapsed = busy = 0.0
    lost, left, runners = 0, list(parts), cluster.runners
    while left:
        now, left = left[:runners], left[runners:]
        longest = max(now)
        failed = 0
        for first in range(0, len(now), cluster.runners_per_node):
            node = now[first : first + cluster.runners_per_node]
            if rng.random() < _chance(max(node), cluster):
                failed += 1
                lost += len(node)
                left += node
                busy += rng.random() * sum(node)
            else:
                busy += sum(node)
        elapsed += longest
        # The others play what is left; where none is left, the first that comes back.
        runners = max(1, cluster.runners - failed * cluster.runners_per_node)
        if failed and failed * cluster.runners_per_node >= cluster.runners:
            elapsed += cluster.restart
    return elapsed, busy, lost


def _chance(seconds: float, cluster: Cluster) -> float:
    """The chance that a machine fails within a time."""
    return -math.expm1(-seconds / (3600 * cluster.node_hours)) if math.isfinite(cluster.node_hours) else 0.0
