"""The simulation of a run: times worked out by hand, stragglers, staleness, failures."""

from __future__ import annotations

import pytest

from sdar_gym.plan.simulate import Cluster, EngineModel, Turn, parts_of, play, simulate


def test_an_engine_decodes_what_it_holds_together() -> None:
    engine = EngineModel(step=1.0, step_each=0.5)
    assert play([[Turn(0, 10)]], engine) == pytest.approx(10 * 1.5)
    # Ten steps of two, then ten of the one that is left.
    assert play([[Turn(0, 10)], [Turn(0, 20)]], engine) == pytest.approx(10 * 2.0 + 10 * 1.5)
    # A turn that follows goes on at once.
    assert play([[Turn(0, 10), Turn(0, 10)], [Turn(0, 20)]], engine) == pytest.approx(20 * 2.0)
    assert play([], engine) == 0.0


def test_prompts_stop_the_engine_and_environments_do_not() -> None:
    engine = EngineModel(step=1.0, read=0.1, turn=5.0)
    # Read 1 s, decode 10 steps, wait 5 s, read 1 s, decode 10 steps.
    assert play([[Turn(10, 10), Turn(10, 10)]], engine) == pytest.approx(1 + 10 + 5 + 1 + 10)
    # The second decodes while the first waits: it has 10 of its 14 steps then, and ends before the first is back.
    both = play([[Turn(0, 10), Turn(0, 10)], [Turn(0, 14)]], engine)
    assert both == pytest.approx(10 + 5 + 10)
    blocked = EngineModel(step=1.0, turn_blocks=5.0)
    assert play([[Turn(0, 10), Turn(0, 10)], [Turn(0, 14)]], blocked) == pytest.approx(20 + 5 * 3)


def test_slots_make_episodes_wait() -> None:
    engine = EngineModel(step=1.0, slots=1)
    assert play([[Turn(0, 10)], [Turn(0, 20)]], engine) == pytest.approx(30)
    assert play([[Turn(0, 10)], [Turn(0, 20)]], EngineModel(step=1.0)) == pytest.approx(20)


def test_whole_groups_are_given_out_in_turn() -> None:
    groups = [[[Turn(0, number)]] * 2 for number in range(1, 6)]
    parts = parts_of(groups, 2)
    assert [[episode[0].sampled for episode in part] for part in parts] == [[1, 1, 3, 3, 5, 5], [2, 2, 4, 4]]


ROLLOUT = [[[Turn(0, 10)]], [[Turn(0, 30)]]]


def cluster(**changed: float) -> Cluster:
    return Cluster(runners=2, engine=EngineModel(step=1.0), update=20.0, sync=1.0, **changed)  # pyright: ignore


def test_a_synchronous_run_waits_for_its_last_episode() -> None:
    found = simulate([ROLLOUT], cluster(), 4)
    assert found.seconds == pytest.approx(4 * (30 + 20 + 1))
    assert found.runner_busy == pytest.approx(40 / (2 * 51))
    assert found.learner_busy == pytest.approx(20 / 51)
    assert found.stale == 0


def test_staleness_plays_while_the_learners_learn() -> None:
    found = simulate([ROLLOUT], cluster(staleness=1), 10)
    # One rollout after the other, and the last update.
    assert found.seconds == pytest.approx(10 * 30 + 21)
    assert found.stale == pytest.approx(0.9)
    slow = Cluster(runners=2, engine=EngineModel(step=1.0), update=50.0, staleness=1)
    # The learners never wait after the first rollout.
    assert simulate([ROLLOUT], slow, 10).seconds == pytest.approx(30 + 10 * 50)


def test_failures_cost_time_and_no_update() -> None:
    calm = simulate([ROLLOUT], cluster(), 200)
    hit = simulate([ROLLOUT], cluster(node_hours=0.5, learner_nodes=0), 200, seed=1)
    assert hit.updates == calm.updates and hit.lost_parts > 0 and hit.lost_updates == 0
    # A part is played again after the others are over: at most 30 s each, plus a restart where both were lost.
    assert calm.seconds < hit.seconds <= calm.seconds + hit.lost_parts * (30 + 120)
    gone = simulate([ROLLOUT], cluster(node_hours=2.0), 200, seed=1)
    assert gone.lost_updates > 0 and gone.seconds > calm.seconds
    assert simulate([ROLLOUT], cluster(node_hours=2.0), 200, seed=1) == gone


def test_a_cluster_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a runner, a staleness of at least 0"):
        Cluster(runners=0, engine=EngineModel(step=1.0), update=1.0)
