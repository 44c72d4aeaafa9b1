"""The turns of an update as one table: what advantages, signals and diagnostics look at before rows are cut apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdar_gym.algorithms.advantages import group_advantages
from sdar_gym.algorithms.baselines import Baseline, base_advantages
from sdar_gym.algorithms.distillation import Groups
from sdar_gym.algorithms.objective import Objective
from sdar_gym.algorithms.shape import Turns
from sdar_gym.algorithms.teachers import View
from sdar_gym.rollout.episode import Episode, TurnRow


@dataclass(frozen=True, slots=True, eq=False)
class TurnTable:
    """All turns of an update, in the order of their episodes; B rows, T answer tokens of the longest one.

    Attributes:
        episodes: The episodes that have a group of at least two.
        owners: Position of each row's episode.
        turns: The turns.
        mask_BT: Bool, True on answer tokens.
        old_logp_BT: The sampler's log-probabilities.
        adv_B: Base advantages.
        group_B: Group of each row.
        turn_B: Number of the turn, from 0.
        return_B: Return of the row's episode.
        won_B: Bool, whether the row's episode succeeded.
        metrics: Group statistics.
    """

    episodes: tuple[Episode, ...]
    owners: tuple[int, ...]
    turns: tuple[TurnRow, ...]
    mask_BT: Tensor
    old_logp_BT: Tensor
    adv_B: Tensor
    group_B: Tensor
    turn_B: Tensor
    return_B: Tensor
    won_B: Tensor
    metrics: dict[str, float]

    @property
    def episode_B(self) -> Tensor:
        """Position of each row's episode."""
        return torch.tensor(self.owners)

    @property
    def tokens(self) -> int:
        """Answer tokens."""
        return int(self.mask_BT.sum())

    def context_B(self, view: View) -> Tensor:
        """Bool, True where the teacher has something of its own: a context, or weights without need of one."""
        return torch.tensor([view is View.NONE or bool(turn.teacher_prompt_ids) for turn in self.turns])

    def as_turns(
        self, adv_B: Tensor, logp_BT: Tensor, teacher_logp_BT: Tensor, control_logp_BT: Tensor | None
    ) -> Turns:
        """What `shape_advantages` takes."""
        return Turns(
            adv_B=adv_B,
            mask_BT=self.mask_BT,
            logp_BT=logp_BT,
            teacher_logp_BT=teacher_logp_BT,
            control_logp_BT=control_logp_BT,
            group_B=self.group_B,
            episode_B=self.episode_B,
            turn_B=self.turn_B,
            return_B=self.return_B,
            won_B=self.won_B,
        )


def turn_table(
    episodes: Sequence[Episode],
    baseline: Baseline,
    *,
    invalid_action_penalty: float,
    dtype: torch.dtype = torch.float32,
) -> TurnTable:
    """Compute base advantages over all groups.

    A group that lost members with a failed runner keeps the others; one with a single member left is dropped, since it
    has no baseline.

    Args:
        episodes: Finished episodes.
        baseline: How advantages are made.
        invalid_action_penalty: Fine of a turn with an invalid answer.
        dtype: Precision of the numbers; the policy's, single or better.

    Raises:
        ValueError: No group of two is left.
    """
    members = Counter(episode.group_id for episode in episodes if episode.turns)
    kept = tuple(episode for episode in episodes if members[episode.group_id] > 1 and episode.turns)
    if not kept:
        raise ValueError(f"None of {len(episodes)} episodes has a group of at least two: nothing to compare.")
    owners = [number for number, episode in enumerate(kept) for _ in episode.turns]
    turns = [turn for episode in kept for turn in episode.turns]
    fine_B = torch.tensor(
        [0.0 if turn.valid_form and turn.valid_action else invalid_action_penalty for turn in turns], dtype=dtype
    )
    return_B = torch.tensor([kept[number].total_reward for number in owners], dtype=dtype)
    group_B = torch.tensor([kept[number].group_id for number in owners])
    turn_B = torch.tensor([number for episode in kept for number in range(len(episode.turns))])
    # A state is what the world shows; within a group, where the task is one, equal texts are the same state.
    states = {text: number for number, text in enumerate(dict.fromkeys(turn.observation for turn in turns))}
    groups = group_advantages(
        torch.tensor([float(episode.won) for episode in kept]),
        torch.tensor([episode.group_id for episode in kept]),
        success_threshold=0.5,
    )
    spread = group_advantages(
        torch.tensor([episode.total_reward for episode in kept]), torch.tensor([episode.group_id for episode in kept])
    )
    mask, old_logp = _padded(turns)
    return TurnTable(
        episodes=kept,
        owners=tuple(owners),
        turns=tuple(turns),
        mask_BT=torch.from_numpy(mask),
        old_logp_BT=torch.from_numpy(old_logp).to(dtype),
        adv_B=base_advantages(
            baseline,
            reward_B=return_B - fine_B,
            step_reward_B=torch.tensor([turn.reward for turn in turns], dtype=dtype) - fine_B,
            group_B=group_B,
            episode_B=torch.tensor(owners),
            turn_B=turn_B,
            anchor_B=torch.tensor([states[turn.observation] for turn in turns]),
        ),
        group_B=group_B,
        turn_B=turn_B,
        return_B=return_B,
        won_B=torch.tensor([kept[number].won for number in owners]),
        metrics={
            "live_group_fraction": spread.live_group_fraction,
            "no_spread_fraction": 1.0 - spread.live_group_fraction,
            "all_fail_fraction": groups.all_fail_fraction or 0.0,
            "all_success_fraction": groups.all_success_fraction or 0.0,
            "dropped_episodes": float(len(episodes) - len(kept)),
        },
    )


def distilled_rows(objective: Objective, table: TurnTable) -> Tensor:
    """Bool (B,): the turns that the distillation loss counts: those with a teacher, in the groups it is for."""
    if objective.distill is None or objective.teacher is None:
        return torch.zeros(len(table.turns), dtype=torch.bool)
    rows_B = table.context_B(objective.teacher.view)
    if objective.distill.groups is Groups.ALL:
        return rows_B
    won: dict[int, list[bool]] = {}
    for episode in table.episodes:
        won.setdefault(episode.group_id, []).append(episode.won)
    wanted = {
        group
        for group, results in won.items()
        if (not any(results) if objective.distill.groups is Groups.ALL_FAIL else any(results) and not all(results))
    }
    return rows_B & torch.tensor([int(group) in wanted for group in table.group_B])


def _padded(turns: Sequence[TurnRow]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(len(turn.response_ids) for turn in turns)
    mask = np.zeros((len(turns), longest), dtype=bool)
    logp = np.zeros((len(turns), longest), dtype=np.float64)
    for row, turn in enumerate(turns):
        mask[row, : len(turn.response_ids)] = True
        logp[row, : len(turn.response_ids)] = turn.logprobs
    return mask, logp
