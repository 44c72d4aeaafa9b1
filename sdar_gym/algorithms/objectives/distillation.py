"""Settings of the distillation loss: which divergence, over what support, gated how, in which groups."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from sdar_gym.algorithms.objectives.gates import Gate
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.settings import Settings, setting, without_effect


class Divergence(StrEnum):
    """D, the divergence between teacher and student.

    From sampled tokens: `LOG_RATIO` (log p_teacher - log p_student, a weighted likelihood), `REVERSE_KL_PG` and
    `REVERSE_KL_K3` (two estimates of the reverse KL's gradient). From distributions, on the top k tokens or the whole
    vocabulary: `FORWARD_CE`, `FORWARD_KL` (the same gradient, zero where both agree), `REVERSE_KL`, `JSD`.
    """

    LOG_RATIO = "log_ratio"
    REVERSE_KL_PG = "reverse_kl_pg"
    REVERSE_KL_K3 = "reverse_kl_k3"
    FORWARD_CE = "forward_ce"
    FORWARD_KL = "forward_kl"
    REVERSE_KL = "reverse_kl"
    JSD = "jsd"

    @property
    def full(self) -> bool:
        """Whether it needs distributions rather than sampled tokens."""
        return self in (Divergence.FORWARD_CE, Divergence.FORWARD_KL, Divergence.REVERSE_KL, Divergence.JSD)


class Support(StrEnum):
    """What a divergence runs over.

    `SAMPLED`: the student's sampled tokens. `TOPK`: the k most likely tokens. `FULL`: the whole vocabulary.
    `TEACHER_SAMPLES`: tokens drawn from the teacher at each position, for a teacher whose probabilities are not known.
    """

    SAMPLED = "sampled"
    TOPK = "topk"
    FULL = "full"
    TEACHER_SAMPLES = "teacher_samples"


class TopKSource(StrEnum):
    """Which model selects the top k tokens."""

    TEACHER = "teacher"
    STUDENT = "student"


class GroupFilter(StrEnum):
    """Which groups are distilled: all, or those in which every episode failed."""

    ALL = "all"
    ALL_FAIL = "all_fail"


class TokenFilter(StrEnum):
    """Which tokens of a response are distilled: all, or those of the action alone.

    The others are thoughts, the tags around the action and the end token.
    """

    ALL = "all"
    ACTION = "action"


class Contrast(StrEnum):
    """What the teacher's gap is compared with: the same teacher with another text in the place of its skills.

    `NONE`: nothing. `EMPTY`: a placeholder. `WRONG`: the skills of another task type. Only the part of a gap counts
    that the control text would not make as well.
    """

    NONE = "none"
    EMPTY = "empty"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Distillation(Settings):
    """Settings of the distillation loss λ·c·D.

    Raises:
        ValueError: If a setting is missing, out of range or without effect.
    """

    PREFIX: ClassVar[str] = "distill."

    coeff: Schedule = setting(
        doc="λ: a number or points `[[step, value], …]`; or `{share: 0.4}`, which sets λ so that the distillation's "
        "gradient has this share of the policy gradient's norm."
    )
    divergence: Divergence = setting(Divergence.LOG_RATIO)
    support: Support = setting(Support.SAMPLED)
    k: int | None = setting(None, "With `topk`: number of tokens.", low=2)
    topk_source: TopKSource | None = setting(None, "With `topk`: the model that selects the tokens.")
    tail_bucket: bool | None = setting(
        None, "With `topk`: whether all other tokens count as one; without it the k are renormalized."
    )
    samples: int | None = setting(
        None, "With `teacher_samples`: tokens drawn from the teacher at each position.", low=1
    )
    alpha: float | None = setting(
        None, "With `jsd`: mixing weight, 0 the forward and 1 the reverse KL.", low=0.0, high=1.0
    )
    teacher_floor: float | None = setting(
        None, "With `reverse_kl`: lowest teacher log-probability that is used.", below=0.0
    )
    gate: Gate | None = setting(None, "c: a gate by name, or with its settings; null for weight 1.")
    groups: GroupFilter = setting(GroupFilter.ALL)
    tokens: TokenFilter = setting(TokenFilter.ALL)
    contrast: Contrast = setting(Contrast.NONE)
    positive_only: bool = setting(False, "Whether only tokens with a positive advantage are distilled.")
    trust_episodes: int | None = setting(
        None,
        "Training episodes of each task that are played with the skills in the prompt; how surely these succeed more "
        "often weights the distillation, by task type. null distils in full.",
        low=1,
    )
    trust_confidence: float | None = setting(
        None,
        "With `trust_episodes`: a task type is distilled in full where skills help with this probability, and not at "
        "all elsewhere; one for which its own episodes say so, either way, is settled and no longer tested. null "
        "weights by how sure it is, and tests without end.",
        above=0.5,
        below=1.0,
    )
    retire_gap: float | None = setting(
        None,
        "A task type is no longer distilled once its running mean of |log p_teacher - log p_student| is below this, in "
        "nats a token. null distils to the end.",
        above=0.0,
    )
    ratio_cap: float | None = setting(
        None, "Weights each token by min(ρ, cap), detached; null for no such weight.", low=1.0
    )

    def _check(self) -> None:
        if self.coeff.minimum < 0.0:
            raise ValueError(f"distill.coeff must never be negative, got {self.coeff.plain()}; drop the sign.")
        self._check_support()
        if self.gate is not None and self.gate.needs_gap and self.support in (Support.TOPK, Support.TEACHER_SAMPLES):
            raise ValueError(
                f"distill.gate={self.gate.NAME!r} reads the teacher's probability of the sampled token, which "
                f"distill.support={str(self.support)!r} may not have. Use distill.support='full', or distill.gate=null."
            )
        reads_gap = self.divergence is not Divergence.LOG_RATIO or (self.gate is not None and self.gate.needs_gap)
        if self.contrast is not Contrast.NONE and not reads_gap:
            raise ValueError(
                f"distill.contrast={str(self.contrast)!r} limits the gap, which distill.divergence='log_ratio' reads "
                "only in its gate. Choose distill.gate='sigmoid', or leave the contrast out."
            )
        if self.divergence is Divergence.JSD:
            if self.alpha is None:
                raise ValueError("distill.divergence='jsd' needs distill.alpha in [0, 1], got None.")
        else:
            without_effect("distill.alpha", self.alpha, "only distill.divergence='jsd' mixes")
        if self.trust_episodes is None:
            without_effect("distill.trust_confidence", self.trust_confidence, "trust needs distill.trust_episodes")
        if self.retire_gap is not None and self.coeff.share:
            raise ValueError(
                "distill.retire_gap ends the distillation of some task types, and a share in distill.coeff would make "
                "up for them in the others. Give distill.coeff as a number."
            )
        if self.divergence is not Divergence.REVERSE_KL:
            without_effect("distill.teacher_floor", self.teacher_floor, "only distill.divergence='reverse_kl' reads it")
        if self.ratio_cap is not None and self.divergence is Divergence.REVERSE_KL_K3:
            raise ValueError("distill.divergence='reverse_kl_k3' has its own importance ratio; leave out ratio_cap.")

    @property
    def has_ratio(self) -> bool:
        """Whether the term has an importance ratio."""
        return self.ratio_cap is not None or self.divergence is Divergence.REVERSE_KL_K3

    @property
    def contrasts(self) -> bool:
        """Whether a control text is scored beside the skills."""
        return self.contrast is not Contrast.NONE

    def _check_support(self) -> None:
        if self.divergence.full == (self.support is Support.SAMPLED):
            fitting = "'topk', 'full' or 'teacher_samples'" if self.divergence.full else "'sampled'"
            raise ValueError(
                f"distill.divergence={str(self.divergence)!r} goes with distill.support={fitting}, "
                f"got {str(self.support)!r}."
            )
        if self.support is Support.TEACHER_SAMPLES:
            if self.divergence is not Divergence.FORWARD_CE:
                raise ValueError(
                    f"distill.support='teacher_samples' estimates distill.divergence='forward_ce' only, got "
                    f"{str(self.divergence)!r}: the others need the teacher's probabilities."
                )
            if self.samples is None:
                raise ValueError("distill.support='teacher_samples' needs distill.samples, the draws at each position.")
        else:
            without_effect("distill.samples", self.samples, "only distill.support='teacher_samples' draws tokens")
        if self.support is Support.TOPK:
            if self.k is None:
                raise ValueError("distill.support='topk' needs distill.k; OPSD's script uses 50, SDPO 100.")
            self.store(
                topk_source=self.topk_source or TopKSource.TEACHER,
                tail_bucket=True if self.tail_bucket is None else self.tail_bucket,
            )
        else:
            for name in ("k", "topk_source", "tail_bucket"):
                without_effect(f"distill.{name}", getattr(self, name), "only distill.support='topk' chooses tokens")
