"""Rollout shares: which episodes are played together, by which runner, and what follows when a runner dies at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.text import shortened


@dataclass(frozen=True, slots=True)
class Share:
    """Episodes that one runner plays together.

    Attributes:
        requests: Whole groups.
        runner: The runner that plays them where none is lost.
        deaths: Runners that died while they played them.
    """

    requests: tuple[EpisodeRequest, ...]
    runner: int
    deaths: int = 0


def shares_of(requests: Sequence[EpisodeRequest], group_size: int, runners: Sequence[int]) -> list[Share]:
    """Distributes whole groups over runners in turn.

    Args:
        requests: Group after group.
        group_size: Episodes of a group.
        runners: All runners of the run, lost ones included, so that shares do not depend on who is there.
    """
    parts: dict[int, list[EpisodeRequest]] = {}
    for number in range(0, len(requests), group_size):
        runner = runners[(number // group_size) % len(runners)]
        parts.setdefault(runner, []).extend(requests[number : number + group_size])
    return [Share(tuple(part), runner) for runner, part in parts.items()]


def assigned(shares: Sequence[Share], runners: Sequence[int]) -> dict[int, Share]:
    """The share that each runner plays now: its own if it has one, else one of a lost runner.

    Args:
        shares: What is left to play.
        runners: The runners that are there.
    """
    chosen: dict[int, Share] = {}
    for share in shares:
        if share.runner in runners and share.runner not in chosen:
            chosen[share.runner] = share
    waiting = [share for share in shares if share not in chosen.values()]
    free = [runner for runner in runners if runner not in chosen]
    return chosen | dict(zip(free, waiting, strict=False))


def after_a_death(share: Share, *, last: bool) -> list[Share]:
    """What is played again of a share at which a runner died.

    Args:
        share: The share.
        last: Whether it is its last try: then its groups are played one by one, to find the one that is the cause.
    """
    deaths = share.deaths + 1
    if not last:
        return [Share(share.requests, share.runner, deaths)]
    groups = groupby(share.requests, key=lambda request: request.group_id)
    return [Share(tuple(group), share.runner, deaths) for _, group in groups]


def failed_episode(request: EpisodeRequest, deaths: int) -> Episode:
    """The episode of a request that runners died at.

    Args:
        request: The request.
        deaths: How many died.
    """
    return Episode(
        episode_id=f"{request.group_id}/{request.member}",
        group_id=request.group_id,
        member=request.member,
        task_id=request.task_id,
        task_type="",
        split="",
        goal="",
        ended="error",
        error=f"Task {shortened(request.task_id)}: {deaths} env runners died while they played it. The logs of Ray's "
        "workers say why (memory? rollout.stall_timeout_s?)",
    )
