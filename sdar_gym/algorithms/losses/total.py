"""The total loss of every method: clipped policy gradient, gated distillation, KL to the reference, entropy bonus.

SDAR's distillation term λ·mean(g·(log p_teacher - log p_student)) is computed in `_distillation`, its gate
g = σ(βΔ) in `methods/sdar.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sdar_gym.algorithms.losses.aggregation import weighted_sum
from sdar_gym.algorithms.losses.policy_gradient import clipped_policy_loss
from sdar_gym.algorithms.losses.sampled_divergences import k3_kl, sampled_divergence, specific_gap, teacher_gap
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.gates import GateInputs
from sdar_gym.algorithms.objectives.objective import Objective


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """Inputs of the loss: some turns of one update, on one device, in one floating-point type.

    Padding may hold anything, nan included: a token counts if its mask is True and its weight is not zero.

    Args:
        logp_BT: Current log-probabilities of the sampled tokens, with gradient.
        old_logp_BT: The same under the policy of the rollout: the sampler's numbers, or the learner's before the first
            step (`training.old_logp`).
        advantage_BT: Â, the advantage of each token with κ, multiplier and bonus in it.
        response_mask_BT: Bool, True on response tokens.
        weight_BT: Per-token weights from `token_mean_weights` or `sequence_mean_weights`, made with GLOBAL counts.
        distill_mask_BT: Bool, the tokens that are distilled; None for all of them.
        trust_BT: Weight of each token's distillation, beside its gate; None for one.
        teacher_logp_BT: The sampled tokens under the teacher.
        control_logp_BT: The same under the teacher with a control text, for `distill.contrast` of sampled tokens.
        divergence_BT: Divergence between the distributions, with gradient, for a divergence over the vocabulary or
            the top k.
        agreement_BT: Bool, where student and teacher have the same most likely token; only logged.
        ref_logp_BT: The sampled tokens under the reference policy.
        entropy_BT: Entropy of the current distribution at each token, with gradient, in nats.
        importance_BT: Correction of terms with an importance ratio for a sampler that differs from the learner; None
            without one. Tokens that it leaves out have weight zero.

    Raises:
        ValueError: If shapes or types do not fit.
    """

    logp_BT: Tensor
    old_logp_BT: Tensor
    advantage_BT: Tensor
    response_mask_BT: Tensor
    weight_BT: Tensor
    distill_mask_BT: Tensor | None = None
    trust_BT: Tensor | None = None
    teacher_logp_BT: Tensor | None = None
    control_logp_BT: Tensor | None = None
    divergence_BT: Tensor | None = None
    agreement_BT: Tensor | None = None
    ref_logp_BT: Tensor | None = None
    entropy_BT: Tensor | None = None
    importance_BT: Tensor | None = None

    def __post_init__(self) -> None:
        if self.logp_BT.ndim != 2:
            raise ValueError(f"logp_BT must have shape (rows, tokens), got {tuple(self.logp_BT.shape)}.")
        if self.logp_BT.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"logp_BT is {self.logp_BT.dtype}: ratios and gaps of half-precision log-probabilities are mostly "
                "rounding error. Compute log-probabilities in float32."
            )
        for field in fields(self):
            tensor = getattr(self, field.name)
            if tensor is None:
                continue
            bools = field.name in ("response_mask_BT", "distill_mask_BT", "agreement_BT")
            dtype = torch.bool if bools else self.logp_BT.dtype
            if tensor.shape != self.logp_BT.shape or tensor.dtype != dtype:
                raise ValueError(
                    f"{field.name} must have shape {tuple(self.logp_BT.shape)} and type {dtype} to fit logp_BT, "
                    f"got {tuple(tensor.shape)} and {tensor.dtype}."
                )


@dataclass(frozen=True, slots=True, eq=False)
class LossOutput:
    """The loss of some rows of an update, and what to log about them.

    Args:
        loss: Scalar with gradient. Add over micro-batches and shards, do not average.
        metrics: Detached scalars, each Σ weight·value over these rows. Add them over micro-batches and shards: the
            sum is the exact global weighted mean. (A data-parallel wrapper that averages gradients over R ranks
            undoes this; multiply the loss by R there.)
        maxima: Detached scalars to combine by their maximum; 0 without tokens.
        minima: Detached scalars to combine by their minimum; infinite without tokens.
        policy_loss: The policy-gradient term of the loss, with gradient.
        distill_loss: The distillation term at λ = 1, with gradient; None where nothing is distilled.

    Always in `metrics`: `policy_loss` (κ inside), `advantage_abs`, `approx_kl` (old to current, never negative),
    `clip_fraction`, `dual_clip_fraction`, `weight` (sums to one if the weights were made right). Where the teacher
    acts: `distill_fraction` (share of the tokens that it distils), `distill_loss` (gated, before λ), `gate_mean`. With
    its log-probabilities `gap_mean` (of the specific part, with a contrast), and with a gate that moves
    `gate_active_fraction` (above one half). With its distributions `agreement`. With reference log-probabilities `kl`,
    with entropies `entropy`. All are means over all tokens: divide by `distill_fraction` for means over the distilled
    ones. In `maxima`: `ratio_max`, in `minima`: `ratio_min`.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    maxima: dict[str, Tensor]
    minima: dict[str, Tensor]
    policy_loss: Tensor
    distill_loss: Tensor | None


def compute_loss(
    objective: Objective, tokens: TokenBatch, step: int = 0, *, distill_coeff: float | None = None
) -> LossOutput:
    """Returns the loss of some rows of an update.

    A term with coefficient zero is omitted rather than added as zero, so that results are bit for bit those of a method
    without it; its metrics are still computed if its inputs are given.

    Args:
        objective: The settings.
        tokens: The rows.
        step: Number of completed updates, for the schedules.
        distill_coeff: λ, for a coefficient that is a share of the policy gradient; None takes the schedule's.

    Returns:
        Loss, metrics and maxima.

    Raises:
        ValueError: If a term with a coefficient lacks its input.

    Source:
        SDAR (arXiv 2605.15155) and the released code: clipped policy loss, gated sampled-token distillation, k3 to
        the initial policy, entropy bonus (the last in the code only). The common form of the others is ours.
    """
    _require(tokens.ref_logp_BT, objective.kl_coeff, "ref_logp_BT", f"kl_coeff is {objective.kl_coeff:g}")
    _require(tokens.entropy_BT, objective.entropy_coeff, "entropy_BT", f"entropy_coeff is {objective.entropy_coeff:g}")

    live_BT = tokens.response_mask_BT & (tokens.weight_BT != 0)
    weight_BT = _keep(live_BT, tokens.weight_BT)
    logp_BT = _keep(live_BT, tokens.logp_BT)
    old_logp_BT = _keep(live_BT, tokens.old_logp_BT)
    advantage_BT = _keep(live_BT, tokens.advantage_BT)

    policy = clipped_policy_loss(
        logp_BT,
        old_logp_BT,
        advantage_BT,
        clip_low=objective.clip_low,
        clip_high=objective.clip_high,
        dual_clip=objective.dual_clip,
    )
    policy_loss_BT = policy.loss_BT
    if tokens.importance_BT is not None:
        policy_loss_BT = policy_loss_BT * _keep(live_BT, tokens.importance_BT)
    loss = policy_loss = weighted_sum(policy_loss_BT, weight_BT)
    distill_loss = None
    terms_BT = {
        "policy_loss": policy_loss_BT,
        "advantage_abs": advantage_BT.abs(),
        # The samples come from the old policy, so this estimates KL(old || current): the k3 with the roles swapped.
        "approx_kl": k3_kl(old_logp_BT, logp_BT),
        "clip_fraction": policy.clipped_BT,
        "dual_clip_fraction": policy.dual_clipped_BT,
        "weight": live_BT,
    }
    if objective.distill is not None:
        coeff = objective.distill.coeff.at(step) if distill_coeff is None else distill_coeff
        if objective.distill.coeff.share and distill_coeff is None:
            raise ValueError("distill.coeff is a share of the policy gradient: pass the coefficient as distill_coeff.")
        distilled = _distillation(objective.distill, tokens, live_BT, logp_BT, policy.ratio_BT, required=coeff != 0.0)
        terms_BT |= distilled
        if "distill_loss" in distilled:
            distill_loss = weighted_sum(distilled["distill_loss"], weight_BT)
            if coeff:
                loss = loss + coeff * distill_loss
    elif tokens.teacher_logp_BT is not None:
        terms_BT["gap_mean"] = teacher_gap(_keep(live_BT, tokens.teacher_logp_BT), logp_BT, live_BT)
    if tokens.ref_logp_BT is not None:
        terms_BT["kl"] = k3_kl(logp_BT, _keep(live_BT, tokens.ref_logp_BT))
        if objective.kl_coeff:
            loss = loss + objective.kl_coeff * weighted_sum(terms_BT["kl"], weight_BT)
    if tokens.entropy_BT is not None:
        terms_BT["entropy"] = tokens.entropy_BT
        if objective.entropy_coeff:
            loss = loss - objective.entropy_coeff * weighted_sum(terms_BT["entropy"], weight_BT)

    with torch.no_grad():
        metrics = {name: weighted_sum(term_BT.to(weight_BT.dtype), weight_BT) for name, term_BT in terms_BT.items()}
        ratio_max = _keep(live_BT, policy.ratio_BT).max() if live_BT.numel() else weight_BT.new_zeros(())
        ratio_min = weight_BT.new_full((), torch.inf)
        if live_BT.numel():
            ratio_min = policy.ratio_BT.masked_fill(~live_BT, torch.inf).min()
    return LossOutput(loss, metrics, {"ratio_max": ratio_max}, {"ratio_min": ratio_min}, policy_loss, distill_loss)


def split_spans(tokens: TokenBatch, span_BT: Tensor) -> TokenBatch:
    """Returns the same tokens with one row per turn, where rows are sequences with several response spans.

    Gates compare the tokens of a turn with each other, so the loss is computed on turns.

    Args:
        tokens: Rows of sequences.
        span_BT: Number of the turn within the sequence of each response token, from 0.
    """
    if not bool((span_BT > 0).any()):
        return tokens
    key_BT = torch.arange(len(span_BT), device=span_BT.device)[:, None] * (int(span_BT.max()) + 1) + span_BT
    rows_N, places_N = tokens.response_mask_BT.nonzero(as_tuple=True)
    keys_B, turn_N, counts_B = torch.unique_consecutive(
        key_BT[rows_N, places_N], return_inverse=True, return_counts=True
    )
    first_B = counts_B.cumsum(dim=0) - counts_B
    place_N = torch.arange(len(turn_N), device=turn_N.device) - first_B[turn_N]
    shape = (len(keys_B), int(counts_B.max()))

    def split(value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
        return value.new_zeros(shape).index_put((turn_N, place_N), value[rows_N, places_N])

    return TokenBatch(**{each.name: split(getattr(tokens, each.name)) for each in fields(tokens)})  # pyright: ignore


def _distillation(
    distill: Distillation, tokens: TokenBatch, live_BT: Tensor, logp_BT: Tensor, ratio_BT: Tensor, *, required: bool
) -> dict[str, Tensor]:
    """The gated divergence of each token and its metrics; empty if inputs are missing and not required."""
    source, gate = "divergence_BT" if distill.divergence.full else "teacher_logp_BT", distill.gate
    limited = distill.contrasts and not distill.divergence.full
    needed = [source] + ["control_logp_BT"] * limited
    if gate is not None:
        needed += ["teacher_logp_BT"] * gate.needs_gap + ["entropy_BT"] * gate.needs_entropy
    missing = [name for name in needed if getattr(tokens, name) is None]
    if missing:
        if required:
            raise ValueError(f"The batch has no {missing[0]}, but distill.coeff is not 0 at this update. Compute it.")
        return {}
    chosen_BT = live_BT if tokens.distill_mask_BT is None else live_BT & tokens.distill_mask_BT
    if distill.positive_only:
        chosen_BT = chosen_BT & (tokens.advantage_BT > 0)
    terms_BT: dict[str, Tensor] = {"distill_fraction": chosen_BT}
    teacher_logp_BT = logp_BT.detach()
    if tokens.teacher_logp_BT is not None:
        # The teacher is not scored where nothing is distilled.
        teacher_logp_BT = torch.where(chosen_BT, tokens.teacher_logp_BT, logp_BT.detach())
    gap_BT = teacher_gap(teacher_logp_BT, logp_BT, chosen_BT)
    if limited and tokens.control_logp_BT is not None:
        gap_BT = specific_gap(gap_BT, teacher_gap(teacher_logp_BT, tokens.control_logp_BT, chosen_BT))
        teacher_logp_BT = logp_BT.detach() + gap_BT
    if gate is None:
        gate_BT = torch.ones_like(gap_BT)
    else:
        gate_BT = gate.weights(GateInputs(gap_BT, chosen_BT, tokens.advantage_BT, ratio_BT, tokens.entropy_BT))
    if tokens.trust_BT is not None:
        gate_BT = gate_BT * tokens.trust_BT
    if distill.ratio_cap is not None:
        gate_BT = gate_BT * ratio_BT.clamp(max=distill.ratio_cap)
    if tokens.importance_BT is not None and distill.has_ratio:
        gate_BT = gate_BT * tokens.importance_BT
    gate_BT = _keep(chosen_BT, gate_BT)
    if tokens.divergence_BT is not None and distill.divergence.full:
        divergence_BT = _keep(chosen_BT, tokens.divergence_BT)
    else:
        divergence_BT = sampled_divergence(
            distill.divergence, logp_BT, teacher_logp_BT, _keep(live_BT, tokens.old_logp_BT)
        )
    terms_BT |= {"distill_loss": gate_BT * divergence_BT, "gate_mean": gate_BT}
    if tokens.teacher_logp_BT is not None:
        terms_BT["gap_mean"] = gap_BT
        if gate is not None and gate.varies:
            terms_BT["gate_active_fraction"] = gate_BT > 0.5
    if tokens.agreement_BT is not None:
        terms_BT["agreement"] = chosen_BT & tokens.agreement_BT
    return terms_BT


def _keep(live_BT: Tensor, value_BT: Tensor) -> Tensor:
    """Returns the values of counted tokens and zero elsewhere, before any exp() can meet the padding."""
    return torch.where(live_BT, value_BT, torch.zeros_like(value_BT))


def _require(tensor: Tensor | None, coefficient: float, name: str, reason: str) -> None:
    if coefficient and tensor is None:
        raise ValueError(f"The batch has no {name}, but {reason}. Compute it, or set the coefficient to 0.")
