"""One loss covers every method; this file is its settings, its inputs and the one function that computes it.

    L = Σ w · [ -min(ρÂ, clip(ρ)Â) + λ(s)·c·D + β·k3(π, π_ref) - η·H ],    Â = κ(s)·A·M + B

w are weights that hold the global denominator, c is the gate, D the divergence. The multiplier M and the additive
bonus B enter in `_shaped_advantage`; every method here has M = 1 and B = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sdar_gym.algorithms.advantages import Statistics
from sdar_gym.algorithms.checks import choice, flag, number
from sdar_gym.algorithms.divergences import Divergence, k3_kl, nll
from sdar_gym.algorithms.gates import Gate, gate_weights
from sdar_gym.algorithms.losses import Aggregation, check_clipping, clipped_policy_loss, weighted_sum
from sdar_gym.algorithms.schedules import Schedule
from sdar_gym.algorithms.signals import teacher_gap

_ON, _OFF = Schedule.constant(1.0), Schedule.constant(0.0)


@dataclass(frozen=True, slots=True)
class Objective:
    """The settings of the loss. Numbers become constant schedules and names become enum members.

    Args:
        policy_coeff: κ, what the group-relative advantage is multiplied with.
        distill_coeff: λ, coefficient of the distillation loss.
        divergence: D, what the distillation loss measures.
        gate: c, how a token's share of the distillation loss depends on the gap.
        gate_beta: Sharpness of the sigmoid gate; None with the other gates.
        kl_coeff: β, coefficient of the KL to the reference policy.
        entropy_coeff: η, coefficient of the entropy bonus.
        clip_low: Clip range of the ratio below one.
        clip_high: Clip range of the ratio above one.
        dual_clip: Bound on the ratio for negative advantages, or None.
        normalize_by_std: Whether advantages are divided by the group's standard deviation.
        advantage_statistics: Over what a group's mean and deviation run.
        aggregation: How tokens are averaged.

    The last three are not used by `compute_loss`: they tell whoever prepares the batch how to call
    `turn_advantages` and which of `token_mean_weights` and `sequence_mean_weights` to take.

    Raises:
        ValueError: If a setting is out of range or settings contradict each other.
    """

    policy_coeff: Schedule = _ON
    distill_coeff: Schedule = _OFF
    divergence: Divergence = Divergence.NLL
    gate: Gate = Gate.ONE
    gate_beta: float | None = None
    kl_coeff: float = 0.0
    entropy_coeff: float = 0.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    normalize_by_std: bool = True
    advantage_statistics: Statistics = Statistics.TRAJECTORY
    aggregation: Aggregation = Aggregation.TOKEN_MEAN

    def __post_init__(self) -> None:
        parsed = {
            "policy_coeff": Schedule.parse(self.policy_coeff, name="policy_coeff"),
            "distill_coeff": Schedule.parse(self.distill_coeff, name="distill_coeff"),
            "divergence": choice(Divergence, "divergence", self.divergence),
            "gate": choice(Gate, "gate", self.gate),
            "kl_coeff": number("kl_coeff", self.kl_coeff, at_least=0.0),
            "entropy_coeff": number("entropy_coeff", self.entropy_coeff, at_least=0.0),
            "normalize_by_std": flag("normalize_by_std", self.normalize_by_std),
            "advantage_statistics": choice(Statistics, "advantage_statistics", self.advantage_statistics),
            "aggregation": choice(Aggregation, "aggregation", self.aggregation),
        }
        for name, value in parsed.items():
            object.__setattr__(self, name, value)
        check_clipping(self.clip_low, self.clip_high, self.dual_clip)
        self._check_gate()
        for name in ("policy_coeff", "distill_coeff"):
            if getattr(self, name).minimum < 0.0:
                raise ValueError(f"{name} must never be negative, got {getattr(self, name)}; drop the sign.")
        if self.policy_coeff.always_zero and self.distill_coeff.always_zero:
            raise ValueError("policy_coeff and distill_coeff are both zero: nothing to learn from. Set one of them.")

    def _check_gate(self) -> None:
        if self.gate is Gate.SIGMOID:
            if self.gate_beta is None:
                raise ValueError("gate='sigmoid' needs gate_beta; SDAR uses 5.0.")
            if number("gate_beta", self.gate_beta, at_least=0.0) == 0.0:
                raise ValueError("gate_beta=0 makes the sigmoid one half everywhere; write gate='constant' instead.")
        elif self.gate_beta is not None:
            raise ValueError(
                f"gate_beta={self.gate_beta!r} has no effect with gate={str(self.gate)!r}; "
                "set gate='sigmoid' or gate_beta=None."
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether teacher log-probabilities are needed at some step."""
        return not self.distill_coeff.always_zero

    def needs_teacher_at(self, step: int) -> bool:
        """Returns whether this step needs teacher log-probabilities, so that the extra forward pass can be saved."""
        return self.distill_coeff.at(step) != 0.0


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """What the loss is computed from: some rows of one update, on one device, in one floating-point type.

    What padding holds does not matter, nan included: a token counts if its mask is True and its weight is not zero.

    Args:
        logp_BT: Current log-probabilities of the sampled tokens, with gradient.
        old_logp_BT: The same under the weights that the update started from.
        adv_B: Advantage of each row.
        mask_BT: Bool, True on response tokens.
        weight_BT: Per-token weights from `token_mean_weights` or `sequence_mean_weights`, made with GLOBAL counts.
        teacher_logp_BT: The same tokens under the teacher's context.
        ref_logp_BT: The same tokens under the reference policy.
        entropy_BT: Entropy of the current distribution at each token, with gradient, in nats.

    Raises:
        ValueError: If shapes or types do not fit.
    """

    logp_BT: Tensor
    old_logp_BT: Tensor
    adv_B: Tensor
    mask_BT: Tensor
    weight_BT: Tensor
    teacher_logp_BT: Tensor | None = None
    ref_logp_BT: Tensor | None = None
    entropy_BT: Tensor | None = None

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
            shape = self.logp_BT.shape[:1] if field.name == "adv_B" else self.logp_BT.shape
            dtype = torch.bool if field.name == "mask_BT" else self.logp_BT.dtype
            if tensor.shape != shape or tensor.dtype != dtype:
                raise ValueError(
                    f"{field.name} must have shape {tuple(shape)} and type {dtype} to fit logp_BT, "
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
        maxima: Detached scalars of which the global value is the maximum; 0 where there was no token.

    Always in `metrics`: `policy_loss` (κ inside), `approx_kl` (old to current, never negative), `clip_fraction`,
    `dual_clip_fraction`, `weight` (sums to one if the weights were made right). With teacher log-probabilities:
    `distill_loss` (gated, before λ), `gate_mean`, `gate_active_fraction` (gate above one half), `gap_mean`. With
    reference log-probabilities `kl`, with entropies `entropy`. In `maxima`: `ratio_max`.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    maxima: dict[str, Tensor]


def compute_loss(objective: Objective, tokens: TokenBatch, step: int = 0) -> LossOutput:
    """Returns the loss of some rows of an update.

    A term with coefficient zero is left out of the loss rather than added as zero, so that a method with it
    switched off is bit for bit the method without it; its metrics are still computed if its inputs are there.

    Args:
        objective: The settings.
        tokens: The rows.
        step: Number of completed updates, for the schedules.

    Returns:
        Loss, metrics and maxima.

    Raises:
        ValueError: If a term with a coefficient lacks its input.

    Source:
        SDAR (arXiv 2605.15155) and the released code: clipped policy loss, gated sampled-token distillation, k3 to
        the initial policy, entropy bonus (the last in the code only).
    """
    distill_coeff = objective.distill_coeff.at(step)
    _require(tokens.teacher_logp_BT, distill_coeff, "teacher_logp_BT", f"distill_coeff is {distill_coeff:g} here")
    _require(tokens.ref_logp_BT, objective.kl_coeff, "ref_logp_BT", f"kl_coeff is {objective.kl_coeff:g}")
    _require(tokens.entropy_BT, objective.entropy_coeff, "entropy_BT", f"entropy_coeff is {objective.entropy_coeff:g}")

    live_BT = tokens.mask_BT & (tokens.weight_BT != 0)
    weight_BT = _keep(live_BT, tokens.weight_BT)
    logp_BT = _keep(live_BT, tokens.logp_BT)
    old_logp_BT = _keep(live_BT, tokens.old_logp_BT)

    policy = clipped_policy_loss(
        logp_BT,
        old_logp_BT,
        _shaped_advantage(objective, tokens, step),
        clip_low=objective.clip_low,
        clip_high=objective.clip_high,
        dual_clip=objective.dual_clip,
    )
    loss = weighted_sum(policy.loss_BT, weight_BT)
    terms_BT = {
        "policy_loss": policy.loss_BT,
        # The samples come from the old policy, so this estimates KL(old || current): the k3 with the roles swapped.
        "approx_kl": k3_kl(old_logp_BT, logp_BT),
        "clip_fraction": policy.clipped_BT,
        "dual_clip_fraction": policy.dual_clipped_BT,
        "weight": live_BT,
    }
    if tokens.teacher_logp_BT is not None:
        teacher_logp_BT = _keep(live_BT, tokens.teacher_logp_BT)
        gap_BT = teacher_gap(teacher_logp_BT, logp_BT, live_BT)
        gate_BT = gate_weights(objective.gate, gap_BT, objective.gate_beta)
        distill_BT = gate_BT * _divergence(objective.divergence, logp_BT, teacher_logp_BT)
        if distill_coeff:
            loss = loss + distill_coeff * weighted_sum(distill_BT, weight_BT)
        terms_BT |= {
            "distill_loss": distill_BT,
            "gate_mean": gate_BT,
            "gate_active_fraction": gate_BT > 0.5,
            "gap_mean": gap_BT,
        }
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
    return LossOutput(loss, metrics, {"ratio_max": ratio_max})


def _shaped_advantage(objective: Objective, tokens: TokenBatch, step: int) -> Tensor:
    """Returns Â = κ(s)·A·M + B per token; a method that rescales or adds credit extends this with the gap."""
    return (objective.policy_coeff.at(step) * tokens.adv_B).unsqueeze(1).expand_as(tokens.logp_BT)


def _divergence(divergence: Divergence, logp_BT: Tensor, teacher_logp_BT: Tensor) -> Tensor:
    match divergence:
        case Divergence.NLL:
            return nll(logp_BT, teacher_logp_BT)


def _keep(live_BT: Tensor, value_BT: Tensor) -> Tensor:
    """Returns the values of counted tokens and zero elsewhere, before any exp() can meet the padding."""
    return torch.where(live_BT, value_BT, torch.zeros_like(value_BT))


def _require(tensor: Tensor | None, coefficient: float, name: str, reason: str) -> None:
    if coefficient and tensor is None:
        raise ValueError(f"The batch has no {name}, but {reason}. Compute it, or set the coefficient to 0.")
