"""The turns of an update as tensors, one row per turn: input of advantages, shapers, gates and diagnostics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sdar_gym.algorithms.losses.advantages import base_advantages
from sdar_gym.algorithms.losses.group_statistics import group_advantages
from sdar_gym.algorithms.objectives.distillation import GroupFilter, TokenFilter
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.teacher import View
from sdar_gym.rollout.trajectory import Episode, TokenSequence, TurnRecord
from sdar_gym.training.token_classes import ACTION, TOKEN_CLASSES, PieceTokenizer, token_classes


@dataclass(frozen=True, slots=True, eq=False)
class TurnBatch:
    """All turns of an update, in the order of their episodes; B turns, T response tokens of the longest one.

    Attributes:
        episodes: The episodes that have a group of at least two.
        turns: The turns.
        sequences: The token sequences that hold the responses.
        sequence_B: Position of each turn's sequence in `sequences`.
        span_B: Number of the turn's response span in its sequence, from 0.
        start_B: Position of the turn's first response token in its sequence.
        offset_B: The same, counted in response tokens only.
        episode_B: Position of each turn's episode in `episodes`.
        turn_B: Number of the turn within its episode, from 0.
        group_B: Group of each turn.
        return_B: Return of the turn's episode.
        won_B: Bool, whether the turn's episode succeeded.
        response_mask_BT: Bool, True on response tokens.
        old_logp_BT: Log-probabilities under the policy of the rollout: the sampler's, or the learner's at the start of
            the update.
        base_advantage_B: κ·A, the group-relative advantage with its coefficient.
        trust_B: Weight of each turn's distillation, 0 to 1; None for one.
        retired_B: Bool, turns whose type is no longer distilled; None for none.
        action_BT: Bool, the tokens of actions; None where nobody asks for them.
        importance_BT: Correction for a sampler that differs from the learner, 0 for tokens that leave the loss; None
            without a correction.
        metrics: Statistics of the update, to be logged.
        mismatch: How far the sampler is from the learner, to be logged with the learner's metrics.
        scored_B: Bool, the turns that were scored before the gradient steps. The others have the sampler's numbers and
            a gap of 0.
        student_logp_BT: Student log-probabilities at the start of the update; the sampler's where not scored.
        teacher_logp_BT: Teacher log-probabilities; the student's where not scored.
        control_logp_BT: The same under the teacher's blanked prompt, or with a control text instead of skills; or None.
        cost_BT: Divergence to the teacher, or None.
        entropy_BT: The student's entropy, nan where not scored, or None.
        has_teacher_scores: Whether the teacher was scored at all.
        advantage_BT: Â, the advantage of each token, zero where masked; None before shaping.
    """

    episodes: tuple[Episode, ...]
    turns: tuple[TurnRecord, ...]
    sequences: tuple[TokenSequence, ...]
    sequence_B: Tensor
    span_B: Tensor
    start_B: Tensor
    offset_B: Tensor
    episode_B: Tensor
    turn_B: Tensor
    group_B: Tensor
    return_B: Tensor
    won_B: Tensor
    response_mask_BT: Tensor
    old_logp_BT: Tensor
    base_advantage_B: Tensor
    scored_B: Tensor
    student_logp_BT: Tensor
    teacher_logp_BT: Tensor
    control_logp_BT: Tensor | None = None
    cost_BT: Tensor | None = None
    entropy_BT: Tensor | None = None
    has_teacher_scores: bool = False
    advantage_BT: Tensor | None = None
    importance_BT: Tensor | None = None
    trust_B: Tensor | None = None
    retired_B: Tensor | None = None
    action_BT: Tensor | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    mismatch: dict[str, float] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Number of response tokens."""
        return int(self.response_mask_BT.sum())

    @property
    def loss_mask_BT(self) -> Tensor:
        """Bool, the response tokens in the loss."""
        if self.importance_BT is None:
            return self.response_mask_BT
        return self.response_mask_BT & (self.importance_BT != 0)

    def trusting(self, trust: Mapping[str, float]) -> TurnBatch:
        """The batch with weights of the distillation by task type.

        Args:
            trust: Of each task type, 0 to 1.
        """
        trust_E = torch.tensor([trust[episode.task_type] for episode in self.episodes], dtype=self.old_logp_BT.dtype)
        trust_B = trust_E[self.episode_B]
        return replace(self, trust_B=trust_B if self.trust_B is None else self.trust_B * trust_B)

    def of_types(self, task_types: Collection[str]) -> Tensor:
        """Bool (B,): turns of some task types.

        Args:
            task_types: Their names.
        """
        return torch.tensor([episode.task_type in task_types for episode in self.episodes])[self.episode_B]

    def has_teacher_B(self, view: View) -> Tensor:
        """Bool (B,): turns with a teacher's prompt; all of them for a teacher that differs by its weights alone."""
        with_prompt = [view is View.NONE or sequence.teacher_ids is not None for sequence in self.sequences]
        return torch.tensor(with_prompt)[self.sequence_B]

    def distilled_B(self, objective: Objective) -> Tensor:
        """Bool (B,): turns in the distillation loss: those with a teacher, in the groups that are distilled."""
        if objective.distill is None or objective.teacher is None:
            return torch.zeros(len(self.turns), dtype=torch.bool)
        rows_B = self.has_teacher_B(objective.teacher.view)
        if self.retired_B is not None:
            rows_B = rows_B & ~self.retired_B
        if objective.distill.groups is GroupFilter.ALL:
            return rows_B
        solved = {episode.group_id for episode in self.episodes if episode.won}
        return rows_B & torch.tensor([int(group) not in solved for group in self.group_B])

    def distilled_BT(self, objective: Objective) -> Tensor:
        """Bool (B, T): the tokens in the distillation loss.

        Raises:
            ValueError: Only actions are distilled, and it is not known which tokens these are.
        """
        tokens_BT = self.distilled_B(objective)[:, None] & self.response_mask_BT
        if objective.distill is None or objective.distill.tokens is TokenFilter.ALL:
            return tokens_BT
        if self.action_BT is None:
            raise ValueError("distill.tokens='action' needs the classes of the tokens: call `with_actions` first.")
        return tokens_BT & self.action_BT

    def with_actions(self, tokenizer: PieceTokenizer) -> TurnBatch:
        """The batch with the tokens of actions marked.

        Args:
            tokenizer: The policy's.
        """
        return replace(self, action_BT=self.classes(tokenizer) == TOKEN_CLASSES.index(ACTION))

    def classes(self, tokenizer: PieceTokenizer) -> Tensor:
        """Position of each token's class in `TOKEN_CLASSES`, (B, T); 0 where masked.

        Args:
            tokenizer: The policy's.
        """
        number_of = {name: number for number, name in enumerate(TOKEN_CLASSES)}
        class_BT = torch.zeros(self.response_mask_BT.shape, dtype=torch.long)
        for row, turn in enumerate(self.turns):
            named = token_classes(tokenizer, turn.response_ids, turn.action)
            class_BT[row, : len(named)] = torch.tensor([number_of[name] for name in named])
        return class_BT


def turn_batch(
    episodes: Sequence[Episode],
    objective: Objective,
    step: int = 0,
    *,
    invalid_action_penalty: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> TurnBatch:
    """Builds the batch of an update and its group-relative advantages.

    A group that lost members with a failed runner keeps the others; one with a single member left is dropped, since it
    has no baseline.

    Args:
        episodes: Finished episodes.
        objective: Determines how advantages are estimated.
        step: Number of completed updates, for the schedule of κ.
        invalid_action_penalty: Penalty of a turn with an invalid action.
        dtype: Precision of the numbers; the policy's, single or better.

    Raises:
        ValueError: No group of two is left.
    """
    members = Counter(episode.group_id for episode in episodes if episode.turns)
    kept = tuple(episode for episode in episodes if members[episode.group_id] > 1 and episode.turns)
    if not kept:
        raise ValueError(
            f"None of {len(episodes)} episodes has another episode of its group to compare with: the others failed, "
            "were lost, or had a first prompt over rollout.max_prompt_tokens."
        )
    turns = [turn for episode in kept for turn in episode.turns]
    episode_B = torch.tensor([number for number, episode in enumerate(kept) for _ in episode.turns])
    turn_B = torch.tensor([number for episode in kept for number in range(len(episode.turns))])
    return_E = torch.tensor([episode.total_reward for episode in kept], dtype=dtype)
    group_E = torch.tensor([episode.group_id for episode in kept])
    invalid = [not (turn.valid_form and turn.valid_action) for turn in turns]
    penalty_B = torch.tensor([invalid_action_penalty if bad else 0.0 for bad in invalid], dtype=dtype)
    return_B, group_B = return_E[episode_B], group_E[episode_B]
    # The state of a turn is its observation; within a group, where the task is one, equal texts are equal states.
    states = {text: number for number, text in enumerate(dict.fromkeys(turn.observation for turn in turns))}
    advantage_B = base_advantages(
        objective.advantage,
        reward_B=return_B - penalty_B,
        step_reward_B=torch.tensor([turn.reward for turn in turns], dtype=dtype) - penalty_B,
        group_B=group_B,
        episode_B=episode_B,
        turn_B=turn_B,
        anchor_B=torch.tensor([states[turn.observation] for turn in turns]),
    )
    mask_BT, old_logp_BT = _padded(turns, dtype)
    sequence_B, span_B, start_B, offset_B = _places(kept).unbind(dim=1)
    return TurnBatch(
        episodes=kept,
        turns=tuple(turns),
        sequences=tuple(sequence for episode in kept for sequence in episode.sequences),
        sequence_B=sequence_B,
        span_B=span_B,
        start_B=start_B,
        offset_B=offset_B,
        episode_B=episode_B,
        turn_B=turn_B,
        group_B=group_B,
        return_B=return_B,
        won_B=torch.tensor([episode.won for episode in kept])[episode_B],
        response_mask_BT=mask_BT,
        old_logp_BT=old_logp_BT,
        base_advantage_B=objective.policy_coeff.at(step) * advantage_B,
        scored_B=torch.zeros(len(turns), dtype=torch.bool),
        student_logp_BT=old_logp_BT,
        teacher_logp_BT=old_logp_BT,
        metrics={**_group_metrics(kept), "dropped_episodes": float(len(episodes) - len(kept))},
    )


def _group_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Shares of groups with a spread of returns, without any success, and without any failure."""
    group_E = torch.tensor([episode.group_id for episode in episodes])
    wins = group_advantages(torch.tensor([float(episode.won) for episode in episodes]), group_E, success_threshold=0.5)
    returns = group_advantages(torch.tensor([episode.total_reward for episode in episodes]), group_E)
    return {
        "live_group_fraction": returns.live_group_fraction,
        "no_spread_fraction": 1.0 - returns.live_group_fraction,
        "all_fail_fraction": wins.all_fail_fraction or 0.0,
        "all_success_fraction": wins.all_success_fraction or 0.0,
    }


def _places(episodes: Sequence[Episode]) -> Tensor:
    """Sequence, number of the span, its start and its offset in response tokens of each turn, [turns, 4]."""
    places: list[tuple[int, int, int, int]] = []
    first = 0
    for episode in episodes:
        place: dict[int, tuple[int, int, int, int]] = {}
        for number, sequence in enumerate(episode.sequences, start=first):
            offset = 0
            for at, span in enumerate(sequence.spans):
                place[span.turn] = (number, at, span.start, offset)
                offset += span.stop - span.start
        missing = [turn for turn in range(len(episode.turns)) if turn not in place]
        if missing:
            raise ValueError(f"Episode {episode.episode_id} has no tokens of turn {missing[0]}.")
        places += [place[turn] for turn in range(len(episode.turns))]
        first += len(episode.sequences)
    return torch.tensor(places)


def _padded(turns: Sequence[TurnRecord], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Response mask and the sampler's log-probabilities, [turns, longest response]."""
    longest = max(len(turn.response_ids) for turn in turns)
    mask = np.zeros((len(turns), longest), dtype=bool)
    logp = np.zeros((len(turns), longest), dtype=np.float64)
    for row, turn in enumerate(turns):
        mask[row, : len(turn.response_ids)] = True
        logp[row, : len(turn.response_ids)] = turn.old_logp
    return torch.from_numpy(mask), torch.from_numpy(logp).to(dtype)
