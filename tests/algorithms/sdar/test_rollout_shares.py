"""Rollout shares: they depend on the runners of the run alone, and a group at which runners die is found."""

from __future__ import annotations

from sdar_gym.algorithms.sdar.rollout_shares import after_a_death, assigned, failed_episode, shares_of
from sdar_gym.rollout.collector import EpisodeRequest

REQUESTS = [EpisodeRequest(f"task-{group}", group, member, 0) for group in range(5) for member in range(2)]


def groups_of(requests: object) -> list[int]:
    return [request.group_id for request in requests]  # type: ignore[attr-defined]


def test_whole_groups_go_to_runners_in_turn() -> None:
    shares = shares_of(REQUESTS, 2, [1, 2])
    assert [(share.runner, groups_of(share.requests)) for share in shares] == [
        (1, [0, 0, 2, 2, 4, 4]),
        (2, [1, 1, 3, 3]),
    ]
    assert len(shares_of(REQUESTS, 2, range(1, 9))) == 5


def test_a_runner_plays_its_own_share_and_a_free_one_that_of_a_lost_one() -> None:
    first, second, third = shares_of(REQUESTS, 2, [1, 2, 3])
    assert assigned([first, second, third], [1, 2, 3]) == {1: first, 2: second, 3: third}
    # The second is lost: the others play theirs first, and its share afterwards.
    assert assigned([first, second, third], [1, 3]) == {1: first, 3: third}
    assert assigned([second], [1, 3]) == {1: second}
    # It is back in time.
    assert assigned([second], [1, 2, 3]) == {2: second}


def test_a_share_is_played_again_as_it_was_and_then_group_by_group() -> None:
    (share, _) = shares_of(REQUESTS, 2, [1, 2])
    (again,) = after_a_death(share, last=False)
    assert (again.requests, again.runner, again.deaths) == (share.requests, 1, 1)
    parts = after_a_death(again, last=True)
    assert [groups_of(part.requests) for part in parts] == [[0, 0], [2, 2], [4, 4]]
    assert {part.deaths for part in parts} == {2}


def test_episodes_at_which_runners_die_fail_with_their_task() -> None:
    episode = failed_episode(REQUESTS[3], deaths=3)
    assert (episode.group_id, episode.member, episode.ended) == (1, 1, "error")
    assert "'task-1'" in episode.error and "3 env runners died" in episode.error
