from __future__ import annotations

import pytest

from sdar_gym.rollout.sampler import TaskSampler

IDS = [f"task {number}" for number in range(10)]


def test_every_task_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    sampler = TaskSampler(IDS, seed=0)
    epochs = [sampler.take(2 * epoch, 5) + sampler.take(2 * epoch + 1, 5) for epoch in range(6)]
    assert all(sorted(epoch) == sorted(IDS) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert IDS not in epochs


def test_an_update_may_cross_the_end_of_an_epoch() -> None:
    sampler = TaskSampler(IDS, seed=0)
    drawn = [task for step in range(10) for task in sampler.take(step, 7)]
    assert all(sorted(drawn[start : start + 10]) == sorted(IDS) for start in range(0, 70, 10))
    assert len(TaskSampler(IDS[:3], seed=0).take(0, 8)) == 8


def test_the_tasks_of_an_update_do_not_depend_on_what_was_asked_before() -> None:
    sampler = TaskSampler(IDS, seed=5)
    forwards = [sampler.take(step, 4) for step in range(9)]
    assert [sampler.take(step, 4) for step in reversed(range(9))] == forwards[::-1]
    assert TaskSampler(IDS, seed=5).take(7, 4) == forwards[7]


def test_the_seed_decides_the_order() -> None:
    assert TaskSampler(IDS, seed=1).take(0, 10) != TaskSampler(IDS, seed=2).take(0, 10)


def test_no_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="no tasks to train on"):
        TaskSampler([], seed=0)
