"""Rollouts ahead of the learner: which weights play which update, when, and what a resumed run plays again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sdar_gym.algorithms.sdar import held_weights
from sdar_gym.algorithms.sdar.background import Background
from sdar_gym.algorithms.sdar.config_checks import check_staleness
from sdar_gym.algorithms.sdar.held_weights import HeldWeights
from sdar_gym.algorithms.sdar.rollouts import Rollouts
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.trajectory import Episode, TurnRecord


class Player:
    """In place of the dispatcher: notes who plays with which weights; the learner's version is set by the test."""

    def __init__(self) -> None:
        self.version = 0
        self.held: HeldWeights | None = None
        self.checks: list[int] = []
        self.played: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def take_weights(self) -> HeldWeights:
        state = {"weights": {"w": float(self.version)}, "version": self.version, "retriever": {"seen": self.version}}
        return HeldWeights.from_state(state)

    def hold(self, weights: HeldWeights) -> None:
        self.held = weights

    def release(self) -> None:
        self.held = None

    def bring_back(self) -> None:
        assert self.held is None

    def check_engines(self) -> None:
        self.checks.append(self.version)

    def take_faults(self) -> dict[str, int]:
        return {}

    def abandon(self) -> None:
        self.gate.set()

    def collect_training(self, requests: Any, group_size: int, *, skills_in_prompt: bool, update: int) -> list[Episode]:
        version = self.version if self.held is None else self.held.student["weights_seq_no"]
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.played.append((update, version))
        turn = TurnRecord("", "", "", True, True, 0.0, [1, 2], [0.0, 0.0], version)
        return [Episode(str(each.member), each.group_id, each.task_id, "", "", "", turns=[turn]) for each in requests]


@pytest.fixture
def rollouts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Rollouts, Player]]:
    """Rollouts of four updates; what is put into the object store stays as it is."""
    monkeypatch.setattr(held_weights, "ray", SimpleNamespace(put=lambda value: value, get=lambda value: value))

    def make(max_staleness: int = 1) -> tuple[Rollouts, Player]:
        player = Player()
        trust_episodes = SimpleNamespace(play=lambda *_: None, trust=SimpleNamespace(settled=frozenset()))
        made = Rollouts(
            player,  # pyright: ignore[reportArgumentType]
            trust_episodes,  # pyright: ignore[reportArgumentType]
            lambda step: [EpisodeRequest(f"task {step}", 0, member, step) for member in range(2)],
            group_size=2,
            skills_in_prompt=False,
            max_staleness=max_staleness,
            iterations=4,
        )
        return made, player

    return make


def run(rollouts: Rollouts, player: Player, steps: range) -> list[dict[str, float]]:
    """Updates: each takes its episodes and makes the next weights."""
    found = []
    for step in steps:
        found.append(rollouts.take(step).staleness(step))
        player.version = step + 1
    return found


def test_every_update_after_the_first_is_played_with_the_weights_before_the_last(rollouts: Any) -> None:
    ahead, player = rollouts()
    staleness = [each["staleness_max"] for each in run(ahead, player, range(4))]
    assert player.played == [(1, 0), (2, 0), (3, 1), (4, 2)]
    assert staleness == [0, 1, 1, 1]
    # After the last one only the weights are kept, for a run that is resumed with more updates.
    assert not ahead.in_flight and ahead.get_state()["step"] == 4 and ahead.get_state()["version"] == 3


def test_without_staleness_each_update_is_played_with_the_present_weights(rollouts: Any) -> None:
    between, player = rollouts(max_staleness=0)
    assert run(between, player, range(4)) == [{"staleness_mean": 0, "staleness_max": 0}] * 4
    assert player.played == [(1, 0), (2, 1), (3, 2), (4, 3)] and player.checks == [0, 1, 2, 3]
    assert between.get_state() == {} and player.held is None


def test_a_restored_state_plays_what_was_in_flight_with_its_own_weights(rollouts: Any) -> None:
    first, player = rollouts()
    run(first, player, range(2))
    state = first.get_state()
    assert (state["step"], state["weights"], state["retriever"]) == (2, {"w": 1.0}, {"seen": 1})
    second, other = rollouts()
    other.version = 2
    second.set_state(state)
    run(second, other, range(2, 4))
    assert other.played == [(3, 1), (4, 2)]
    assert second.get_state() == first.get_state() | {"step": 4, "version": 3, "weights": {"w": 3.0}} | {
        "retriever": {"seen": 3}
    }


def test_the_learner_goes_on_while_episodes_are_played_and_others_wait_for_them(rollouts: Any) -> None:
    ahead, player = rollouts()
    ahead.take(0)
    ahead.pause()
    player.gate.clear()
    ahead.take(1)
    assert ahead.in_flight and player.played == [(1, 0), (2, 0)]
    threading.Timer(0.05, player.gate.set).start()
    ahead.pause()
    assert not ahead.in_flight and player.held is None
    assert player.played[-1] == (3, 0)
    waited = ahead.take(2)
    assert len(waited.episodes) == 2 and waited.waited < waited.seconds


def test_an_error_of_episodes_played_ahead_ends_the_update_that_takes_them(rollouts: Any) -> None:
    ahead, player = rollouts()
    ahead.take(0)
    ahead.pause()
    player.gate.clear()
    ahead.take(1)
    player.error = ValueError("no floor")
    player.gate.set()
    with pytest.raises(ValueError, match="no floor"):
        ahead.take(2)
    assert ahead.get_state() == {} and player.held is None


def test_background_work_gives_its_result_or_its_error() -> None:
    gate = threading.Event()
    work = Background(lambda: gate.wait(10), "test")
    assert not work.done
    gate.set()
    assert work.result() is True and work.done and work.seconds > 0

    def broken() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        Background(broken, "test").result()


def test_staleness_without_anybody_who_could_play_meanwhile_is_refused() -> None:
    check_staleness(1, 1)
    check_staleness(0, 0)
    with pytest.raises(ValueError, match=r"training.max_staleness=1 .* set resources.num_env_runners"):
        check_staleness(1, 0)
