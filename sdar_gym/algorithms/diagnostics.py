"""What is logged about the teacher: where it disagrees with the student, how far it is heard, whether reward backs it.

Shapes: B turn rows, T answer tokens, E episodes. All numbers are plain means over the tokens of a whole update: rows
must not be merged, nor a shard be measured by itself. A key is missing where there is nothing to take a mean of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sdar_gym.algorithms.checks import number
from sdar_gym.algorithms.signals import teacher_gap

# Turns and positions, counted from 1; most of what differs does so early, hence the widths.
_LAST_OF_BUCKET = (1, 2, 4, 8, 16)
BUCKETS = ("1", "2", "3-4", "5-8", "9-16", "17+")
# In nats: the teacher gives the token at least 95 % of the student's probability.
TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class UpdateTokens:
    """The tokens of an update, one row a turn, on one device. What padding holds does not matter.

    Args:
        mask_BT: Bool, True on response tokens.
        student_logp_BT: Log-probabilities of the sampled tokens, in nats.
        teacher_logp_BT: The same under the teacher's context.
        gate_BT: What each token's distillation loss is weighed with.
        adv_BT: Advantage of each token, as it enters the loss.
        turn_B: Number of the turn in its episode, from 1.
        episode_B: Position of the row's episode in what has one entry an episode, from 0.
        class_BT: Position of the token's class in `class_names`.
        class_names: Names of the token classes.
        entropy_BT: The student's entropy at each token, in nats.
        taught_B: Bool, True where the teacher had a context of its own; the others' gap is 0 and says nothing.
            None for all.

    Raises:
        ValueError: If shapes or types do not fit, or a number is out of range.
    """

    mask_BT: Tensor
    student_logp_BT: Tensor
    teacher_logp_BT: Tensor
    gate_BT: Tensor
    adv_BT: Tensor
    turn_B: Tensor
    episode_B: Tensor
    class_BT: Tensor
    class_names: tuple[str, ...]
    entropy_BT: Tensor | None = None
    taught_B: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask_BT.ndim != 2 or self.mask_BT.dtype != torch.bool:
            raise ValueError(
                f"mask_BT must be a bool matrix, got {self.mask_BT.dtype} of shape {tuple(self.mask_BT.shape)}."
            )
        for name in ("student_logp_BT", "teacher_logp_BT", "gate_BT", "adv_BT", "class_BT", "entropy_BT"):
            value = getattr(self, name)
            if value is not None and value.shape != self.mask_BT.shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, mask_BT {tuple(self.mask_BT.shape)}.")
        for name in ("turn_B", "episode_B", "taught_B"):
            value = getattr(self, name)
            if value is not None and value.shape != self.mask_BT.shape[:1]:
                raise ValueError(f"{name} has shape {tuple(value.shape)} for {len(self.mask_BT)} rows.")
        if bool((self.turn_B < 1).any()):
            raise ValueError(f"turn_B counts from 1, got {int(self.turn_B.min())}.")
        if bool((self.episode_B < 0).any()):
            raise ValueError(f"episode_B counts from 0, got {int(self.episode_B.min())}.")
        classes = self.class_BT[self.mask_BT]
        if bool(((classes < 0) | (classes >= len(self.class_names))).any()):
            raise ValueError(f"class_BT names positions outside of the {len(self.class_names)} in class_names.")

    @property
    def gap_BT(self) -> Tensor:
        """How much more likely the teacher finds each token, see `teacher_gap`."""
        return teacher_gap(self.teacher_logp_BT, self.student_logp_BT, self.mask_BT)

    @property
    def taught_BT(self) -> Tensor:
        """Bool, True on response tokens about which the teacher says something."""
        return self.mask_BT if self.taught_B is None else self.mask_BT & self.taught_B[:, None]


def update_metrics(tokens: UpdateTokens) -> dict[str, float]:
    """All metrics of this file that need nothing but the tokens.

    Returns:
        `gap/all`, `agreement/all`, `taught/all` (share of tokens about which the teacher says something), those of
        `gap_by_class`, `agreement_by_turn` and `by_position`, and by class `tokens/…` (share of all), `gate/…`,
        `abs_advantage/…` and, where entropies are given, `entropy/…`.
    """
    taught_BT, mask_BT, class_BT = tokens.taught_BT, tokens.mask_BT, tokens.class_BT
    classes, everything_BT = _numbered(tokens.class_names), torch.zeros_like(class_BT)
    metrics = {
        **_means("gap", tokens.gap_BT, everything_BT, taught_BT, {0: "all"}),
        **_means("agreement", _agrees_BT(tokens), everything_BT, taught_BT, {0: "all"}),
        **_means("taught", taught_BT, everything_BT, mask_BT, {0: "all"}),
        **gap_by_class(tokens),
        **_means("gate", tokens.gate_BT, class_BT, taught_BT, classes),
        **_means("abs_advantage", tokens.adv_BT.abs(), class_BT, mask_BT, classes),
        **agreement_by_turn(tokens),
        **by_position(tokens),
    }
    for place, name in classes.items():
        metrics |= _means("tokens", class_BT == place, everything_BT, mask_BT, {0: name})
    if tokens.entropy_BT is not None:
        metrics |= _means("entropy", tokens.entropy_BT, class_BT, mask_BT, classes)
    return metrics


def gap_by_class(tokens: UpdateTokens) -> dict[str, float]:
    """Returns the mean gap of each token class in nats, as `gap/action` and so on."""
    return _means("gap", tokens.gap_BT, tokens.class_BT, tokens.taught_BT, _numbered(tokens.class_names))


def agreement_by_turn(tokens: UpdateTokens) -> dict[str, float]:
    """Returns by turn the mean gap and the agreement, as `gap/turn_1`, `agreement/turn_3-4` and so on.

    A token is agreed on if the teacher gives it at least as much probability as the student does, up to `TOLERANCE`
    nats: gap >= -0.05.
    """
    bucket_BT = _buckets(tokens.turn_B)[:, None].expand_as(tokens.mask_BT)
    return _gap_and_agreement(tokens, "turn", bucket_BT)


def by_position(tokens: UpdateTokens) -> dict[str, float]:
    """Returns the same by the token's position in its answer, as `gap/position_1`, `agreement/position_17+`."""
    return _gap_and_agreement(tokens, "position", _buckets(tokens.mask_BT.long().cumsum(dim=1)))


def trajectory_gaps(tokens: UpdateTokens, episodes: int) -> Tensor:
    """Returns the mean gap over all tokens of each episode, shape (E,); nan where the teacher says nothing.

    Args:
        tokens: The update.
        episodes: Number of episodes.

    Raises:
        ValueError: If `episode_B` names more.
    """
    if len(tokens.episode_B) and int(tokens.episode_B.max()) >= episodes:
        raise ValueError(f"episode_B names episode {int(tokens.episode_B.max())} of {episodes}, counted from 0.")
    taught_BT = tokens.taught_BT
    gap_B = torch.where(taught_BT, tokens.gap_BT, 0.0).double().sum(dim=1)
    index_B = tokens.episode_B.long()
    sum_E = gap_B.new_zeros(episodes).index_add(0, index_B, gap_B)
    count_E = gap_B.new_zeros(episodes).index_add(0, index_B, taught_BT.sum(dim=1).double())
    return sum_E / count_E  # Without tokens 0 / 0, which is nan.


class TrustMeter:
    """Whether reward backs the teacher, by task type: are the tokens of better attempts those that it finds likelier?

    Trust is the moving average of the correlation between an episode's advantage and its mean gap, over the groups
    whose episodes differ. About one where the teacher prefers what succeeds, about zero or below where its context is
    wrong. Differences between tasks in how large gaps are bring it closer to zero, never to the other side.

    Args:
        decay: Share of the old value that stays with each update.

    Raises:
        ValueError: If `decay` is not in [0, 1).

    Source:
        Ours; a measurement. As a gate of the loss it did not prove safe: few groups differ once a task is learned.
    """

    def __init__(self, decay: float = 0.8):
        if number("decay", decay, at_least=0.0) >= 1.0:
            raise ValueError(f"decay must be below 1, else trust never changes, got {decay!r}.")
        self._decay = decay
        self._trust: dict[str, float] = {}

    def update(self, adv_E: Tensor, gap_E: Tensor, group_E: Tensor, task_types: Sequence[str]) -> dict[str, float]:
        """Take in one update.

        Args:
            adv_E: Advantage (or return less its group's mean) of each episode.
            gap_E: Its mean gap, see `trajectory_gaps`; episodes with nan are left out.
            group_E: Integer id of each episode's group.
            task_types: Task type of each episode.

        Returns:
            `metrics()`.

        Raises:
            ValueError: If the four do not have the same length.
        """
        if not len(adv_E) == len(gap_E) == len(group_E) == len(task_types):
            raise ValueError(
                f"One entry an episode is needed, got {len(adv_E)} advantages, {len(gap_E)} gaps, {len(group_E)} "
                f"groups and {len(task_types)} task types."
            )
        adv_E, gap_E = adv_E.double(), gap_E.double()
        for kind in sorted(set(task_types)):
            of_kind_E = torch.tensor([each == kind for each in task_types], device=gap_E.device)
            kept_E = of_kind_E & gap_E.isfinite()
            if not bool(kept_E.any()):
                continue
            live = _groups_with_spread(adv_E[kept_E], group_E[kept_E])
            live_E = kept_E & torch.isin(group_E, live)
            now = _correlation(adv_E[live_E], gap_E[live_E])
            if now is not None:
                old = self._trust.get(kind, now)
                self._trust[kind] = self._decay * old + (1.0 - self._decay) * now
        return self.metrics()

    def trust(self, task_type: str) -> float | None:
        """The trust in the teacher on a task type, or None before a group of that type differed."""
        return self._trust.get(task_type)

    def metrics(self) -> dict[str, float]:
        """`trust/<task type>` of the types that have a value."""
        return {f"trust/{kind}": value for kind, value in sorted(self._trust.items())}

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint keeps; plain JSON."""
        return {"trust": dict(self._trust)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: If it is not what `get_state` gives.
        """
        trust = state.get("trust")
        if not isinstance(trust, Mapping):
            raise ValueError(f"No state of a TrustMeter: {state!r}. It has a number a task type under 'trust'.")
        self._trust = {str(kind): number(f"trust of {kind}", value) for kind, value in trust.items()}


def _agrees_BT(tokens: UpdateTokens) -> Tensor:
    return tokens.gap_BT >= -TOLERANCE


def _gap_and_agreement(tokens: UpdateTokens, what: str, bucket_BT: Tensor) -> dict[str, float]:
    names = _numbered([f"{what}_{bucket}" for bucket in BUCKETS])
    return {
        **_means("gap", tokens.gap_BT, bucket_BT, tokens.taught_BT, names),
        **_means("agreement", _agrees_BT(tokens), bucket_BT, tokens.taught_BT, names),
    }


def _buckets(count: Tensor) -> Tensor:
    return torch.bucketize(count, torch.tensor(_LAST_OF_BUCKET, device=count.device))


def _numbered(names: Sequence[str]) -> dict[int, str]:
    return dict(enumerate(names))


def _means(name: str, value_BT: Tensor, part_BT: Tensor, mask_BT: Tensor, parts: Mapping[int, str]) -> dict[str, float]:
    """`<name>/<part>`: the mean over the tokens of each part that has any."""
    chosen = {part: value_BT[mask_BT & (part_BT == place)] for place, part in parts.items()}
    return {f"{name}/{part}": value.double().mean().item() for part, value in chosen.items() if len(value)}


def _groups_with_spread(value_E: Tensor, group_E: Tensor) -> Tensor:
    """The ids of the groups whose values are not all the same."""
    if value_E.ndim != 1 or value_E.shape != group_E.shape or len(value_E) == 0:
        raise ValueError(
            f"Values and groups of the episodes must be equally long, non-empty vectors, got shapes "
            f"{tuple(value_E.shape)} and {tuple(group_E.shape)}."
        )
    ids_K, index_E = torch.unique(group_E, return_inverse=True)
    spread_K = [
        value_E.new_zeros(len(ids_K)).scatter_reduce(0, index_E, value_E, reduce, include_self=False)
        for reduce in ("amin", "amax")
    ]
    return ids_K[spread_K[0] < spread_K[1]]


def _correlation(x_E: Tensor, y_E: Tensor) -> float | None:
    """Pearson's correlation, or None where one of the two does not vary."""
    x_E, y_E = x_E - x_E.mean(), y_E - y_E.mean()
    scale = x_E.norm() * y_E.norm()
    return float((x_E @ y_E / scale).clamp(-1.0, 1.0)) if float(scale) > 1e-12 else None
