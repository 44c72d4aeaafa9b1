"""What the teacher says about a sampled token, and sums of it over turns and trajectories.

Letters: B turn rows, T response tokens, E episodes. A row is one turn; the rows of an episode need not be neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def teacher_gap(teacher_logp_BT: Tensor, student_logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns how much more likely the sampled token is to the teacher than to the student.

    Positive where the privileged context makes the token more likely. A signal, never a path for gradients: every
    method weighs the student by it, and a gradient through the weight would be another objective.

    Args:
        teacher_logp_BT: Log-probabilities of the sampled tokens under the teacher's context, in nats.
        student_logp_BT: The same tokens under the student's context, from the same numerics.
        mask_BT: Bool, True on response tokens.

    Returns:
        The detached gap in nats, shape (B, T), zero where masked, whatever the padding holds.

    Source:
        SDAR (arXiv 2605.15155), the teacher-student gap Δ_t = sg[log p_teacher - log p_student].
    """
    gap_BT = teacher_logp_BT.detach() - student_logp_BT.detach()
    return torch.where(mask_BT, gap_BT, torch.zeros_like(gap_BT))


def turn_sum(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns the sum over each turn's response tokens, shape (B,)."""
    return torch.where(mask_BT, value_BT, torch.zeros_like(value_BT)).sum(dim=1)


def turn_mean(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns the mean over each turn's response tokens, shape (B,); zero for a row without tokens."""
    return turn_sum(value_BT, mask_BT) / mask_BT.sum(dim=1).clamp(min=1)


def turn_z_scores(value_BT: Tensor, mask_BT: Tensor, eps: float = 1e-6) -> Tensor:
    """Returns (value - mean) / (std + eps) within each turn, zero where masked and in turns without spread.

    Source:
        ADRS (arXiv 2608.03223) standardises the teacher's log-probabilities within each step.
    """
    centred_BT = torch.where(mask_BT, value_BT - turn_mean(value_BT, mask_BT)[:, None], torch.zeros_like(value_BT))
    std_B = turn_mean(centred_BT**2, mask_BT).sqrt()
    return centred_BT / (std_B + eps)[:, None]


def window_mean(value_BT: Tensor, mask_BT: Tensor, width: int) -> Tensor:
    """Returns the mean over the last `width` response tokens of the turn, the token itself included.

    Args:
        value_BT: What to smooth.
        mask_BT: Bool, True on response tokens; they are the first ones of each row.
        width: Tokens of the window, at least 1; fewer at the start of a turn.

    Returns:
        Trailing means, shape (B, T), zero where masked.
    """
    kept_BT = torch.where(mask_BT, value_BT, torch.zeros_like(value_BT))
    total_BT = kept_BT.cumsum(dim=1)
    before_BT = torch.zeros_like(total_BT)
    before_BT[:, width:] = total_BT[:, :-width] if width < total_BT.shape[1] else 0.0
    seen_T = torch.arange(1, value_BT.shape[1] + 1, device=value_BT.device).clamp(max=width)
    return torch.where(mask_BT, (total_BT - before_BT) / seen_T, torch.zeros_like(total_BT))


def episodes_in_order(episode_B: Tensor, turn_B: Tensor) -> Iterator[Tensor]:
    """Yields the row numbers of each episode, its turns in order."""
    order_B = torch.argsort(turn_B, stable=True)
    order_B = order_B[torch.argsort(episode_B[order_B], stable=True)]
    _, counts_E = torch.unique_consecutive(episode_B[order_B], return_counts=True)
    yield from order_B.split(counts_E.tolist())


def discounted_to_go(value_B: Tensor, episode_B: Tensor, turn_B: Tensor, gamma: float) -> Tensor:
    """Returns Σ_{j >= k} γ^(j-k) · value_j over the later turns of the same episode, shape (B,)."""
    result_B = torch.zeros_like(value_B)
    for rows_K in episodes_in_order(episode_B, turn_B):
        running = value_B.new_zeros(())
        for row in reversed(rows_K.tolist()):
            running = value_B[row] + gamma * running
            result_B[row] = running
    return result_B


def belief_changes(evidence_B: Tensor, prior_B: Tensor, episode_B: Tensor, turn_B: Tensor, decay: float) -> Tensor:
    """Returns by how much each turn moves the belief that the episode goes as the teacher would have it.

    The belief is σ(logit(prior) + c), where c gathers the evidence of the turns: c_k = decay·c_(k-1) + evidence_k.

    Args:
        evidence_B: Summed gap of each turn, in nats.
        prior_B: Belief before the first turn, such as the group's success rate; kept within [0.05, 0.95].
        episode_B: Integer id of each row's episode.
        turn_B: Number of the turn within its episode.
        decay: What is left of the evidence after a turn; 1 forgets nothing.

    Returns:
        Belief after the turn minus belief before it, shape (B,).

    Source:
        AgentOPSD (arXiv 2608.05987), belief walk. Deviation: the prior is kept off 0 and 1, whose logits are infinite.
    """
    start_B = torch.logit(prior_B.clamp(0.05, 0.95))
    change_B = torch.zeros_like(evidence_B)
    for rows_K in episodes_in_order(episode_B, turn_B):
        carried, before = evidence_B.new_zeros(()), torch.sigmoid(start_B[rows_K[0]])
        for row in rows_K.tolist():
            carried = decay * carried + evidence_B[row]
            after = torch.sigmoid(start_B[row] + carried)
            change_B[row] = after - before
            before = after
    return change_B


def z_scores_by(value_B: Tensor, key_B: Tensor, eps: float = 1e-6) -> Tensor:
    """Returns (value - mean) / (std + eps) among the rows with the same key, zero where there is no spread."""
    _, index_B = torch.unique(key_B, return_inverse=True)
    centred_B = value_B - mean_by(value_B, index_B)
    return centred_B / (mean_by(centred_B**2, index_B).sqrt() + eps)


def mean_by(value_B: Tensor, key_B: Tensor) -> Tensor:
    """Returns, for each row, the mean over the rows with the same key; shape (B,)."""
    _, index_B = torch.unique(key_B, return_inverse=True)
    size = int(index_B.max()) + 1 if len(index_B) else 0
    mean_K = value_B.new_zeros(size).scatter_reduce(0, index_B, value_B, "mean", include_self=False)
    return mean_K[index_B]
