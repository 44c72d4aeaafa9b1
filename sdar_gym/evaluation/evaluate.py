"""Evaluation into a folder: plays what is missing, tries failed episodes again, and summarizes the finished ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sdar_gym.evaluation.folder import EvaluationFolder
from sdar_gym.evaluation.panels import PanelPlayer
from sdar_gym.rollout.chat_endpoint import EndpointError
from sdar_gym.rollout.trajectory import Episode


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome of an evaluation.

    Attributes:
        summary: The result over the finished episodes; see `summarize_finished`.
        episodes: The finished episodes, by group and member.
        played: Those of them that were played now.
        failed: The episodes that failed in every try, with the error of the last one.
    """

    summary: dict[str, Any]
    episodes: list[Episode]
    played: list[Episode]
    failed: list[Episode]


def evaluate(
    player: PanelPlayer,
    folder: EvaluationFolder,
    *,
    done: Sequence[Episode] = (),
    retries: int = 1,
    finished: Callable[[Episode], None] = lambda episode: None,
) -> Evaluation:
    """Plays a panel into a folder.

    Args:
        player: Plays it.
        folder: Gets a row for each episode at its end, and the summary.
        done: Finished episodes of an evaluation that is resumed.
        retries: Tries of a failed episode after the first.
        finished: Called with each episode that finished now.

    Raises:
        ValueError: No episode finished, the server cannot be used, or the folder cannot be written.
    """
    kept = {(episode.group_id, episode.member): episode for episode in done}
    failed: dict[tuple[int, int], Episode] = {}
    played: list[Episode] = []

    def at_end(episode: Episode) -> None:
        folder.add(episode)
        key = (episode.group_id, episode.member)
        if episode.ended == "error":
            failed[key] = episode
            return
        kept[key] = episode
        played.append(episode)
        failed.pop(key, None)
        finished(episode)

    requests = player.requests()
    for attempt in range(1 + retries):
        left = [request for request in requests if (request.group_id, request.member) not in kept]
        if not left:
            break
        try:
            player.play(left, finished=at_end, keep_failed=True)
        except EndpointError:
            if not attempt:
                raise
            break  # What failed before stays failed.
    if not kept:
        told = next(iter(failed.values())).error if failed else "nothing was asked for"
        raise ValueError(f"None of the {len(requests)} episodes finished, so there is no result. {told}")
    episodes = [kept[key] for key in sorted(kept)]
    summary = player.summary_of_finished(episodes)
    folder.write_summary(summary)
    return Evaluation(summary, episodes, played, [failed[key] for key in sorted(failed)])
