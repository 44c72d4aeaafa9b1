"""Work of an update in tokens: what each pass over the episodes reads, predicts and attends to.

Exact for the given episodes of one learner, with two simplifications: padding is left out, and sequences of equal
tokens, which the learner reads once, are counted each. Scores without gradient read a prefix that prompts share once,
in the batches that the learner would make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.plan.model_size import ModelSize
from sdar_gym.policy.batching import right_padded
from sdar_gym.policy.prefix_caching import LEAST_SHARED, prefix_batches
from sdar_gym.rollout.trajectory import Episode, TokenSequence

# A backward pass costs one forward pass for the gradients of the inputs, and one for those of trained weights.
INPUT_GRADIENTS, WEIGHT_GRADIENTS = 1, 1


@dataclass(frozen=True, slots=True)
class Work:
    """Work of a forward pass.

    Attributes:
        tokens: Tokens that the layers process.
        predicted: Tokens for which the head computes logits.
        pairs: Pairs of a token with itself or an earlier one, over which attention runs.
    """

    tokens: float = 0.0
    predicted: float = 0.0
    pairs: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.predicted + other.predicted, self.pairs + other.pairs)

    def __mul__(self, factor: float) -> Work:
        return Work(self.tokens * factor, self.predicted * factor, self.pairs * factor)

    def flops(self, size: ModelSize) -> float:
        """Operations: two per weight and token, and per pair and layer two products of the queries' width."""
        attention = 4.0 * size.shape.layers * size.query_width * self.pairs
        return 2.0 * size.body * self.tokens + 2.0 * size.head * self.predicted + attention


def reading(start: int, stop: int, predicted: int) -> Work:
    """Tokens `start` to `stop` of a sequence, with the keys and values of those before at hand."""
    return Work(stop - start, predicted, (stop * (stop + 1) - start * (start + 1)) / 2)


@dataclass(frozen=True, slots=True)
class UpdateWork:
    """The passes of an update over its episodes.

    Attributes:
        prefill: Prompts in the rollout; of a conversation only what a turn adds.
        decode: Sampled responses.
        gradient: One forward pass over all sequences, as with gradients.
        student: One pass without gradients, as for log-probabilities before the update.
        teacher: The same behind the teacher's prompts.
    """

    prefill: Work
    decode: Work
    gradient: Work
    student: Work
    teacher: Work

    def __mul__(self, factor: float) -> UpdateWork:
        return UpdateWork(
            self.prefill * factor,
            self.decode * factor,
            self.gradient * factor,
            self.student * factor,
            self.teacher * factor,
        )


@dataclass(frozen=True, slots=True)
class Passes:
    """How often an update makes each pass.

    Attributes:
        student: Student scores before the gradient steps.
        reference: Scores of the initial policy for the KL term.
        teacher: Teacher scores.
        gradient: Epochs; each is a forward and a backward pass.
        recomputed: Whether each gradient repeats the forward pass (gradient checkpointing).
        adapters: Whether adapters are trained instead of the weights.
    """

    student: int
    reference: int
    teacher: int
    gradient: int
    recomputed: bool
    adapters: bool

    def gradient_flops(self, work: Work, size: ModelSize) -> float:
        """Operations of one forward and backward pass; the head's logits are always computed again."""
        backward = INPUT_GRADIENTS + (0 if self.adapters else WEIGHT_GRADIENTS)
        head = Work(predicted=work.predicted).flops(size)
        return work.flops(size) * (1 + backward + int(self.recomputed)) + (0.0 if self.recomputed else head)


def passes_of(objective: Objective, *, old_logp: str, epochs: int, recomputed: bool, adapters: bool = False) -> Passes:
    """The passes of the first update, without those that only diagnostics need."""
    scores = objective.required_scores(0)
    student = int(old_logp == "learner" or "student" in scores)
    teacher = sum(name in scores for name in ("teacher", "control", "cost"))
    return Passes(
        student=student,
        reference=int(objective.kl_coeff > 0),
        teacher=teacher + int(objective.needs_distributions_at(0)),
        gradient=epochs,
        recomputed=recomputed,
        adapters=adapters,
    )


def update_work(episodes: Sequence[Episode], token_budget: int) -> UpdateWork:
    """The work of an update on these episodes.

    Args:
        episodes: All members of some groups, so that shared prefixes are found.
        token_budget: Tokens of a batch of scores.
    """
    sequences = [sequence for episode in episodes for sequence in episode.sequences]
    prefill, decode, gradient = Work(), Work(), Work()
    for sequence in sequences:
        read = 0
        for span in sequence.spans:
            # The first response token is predicted at the end of the prompt. The last one sampled is read only if
            # something follows it.
            prefill += reading(read, span.start, 1)
            decode += reading(span.start, span.stop - 1, span.stop - 1 - span.start)
            read = span.stop - 1
        gradient += reading(0, sequence.spans[-1].stop, sampled_in(sequence))
    taught = [sequence for sequence in sequences if sequence.teacher_ids is not None]
    return UpdateWork(
        prefill,
        decode,
        gradient,
        _scores([_Row(one.ids, one.spans[0].start, sampled_in(one)) for one in sequences], token_budget),
        _scores([_Row(one.teacher_ids or [], _teacher_start(one), sampled_in(one)) for one in taught], token_budget),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A sequence to score: its tokens up to the last response, those before the first, and those predicted."""

    ids: Sequence[int]
    prompt: int
    sampled: int


def _scores(rows: Sequence[_Row], token_budget: int) -> Work:
    """A pass without gradients: rows of a batch read the beginning of their prompts once, if they have it in common."""
    work = Work()
    if not rows:
        return work
    ids = torch.from_numpy(right_padded([row.ids for row in rows], 0))
    prompts, widths = torch.tensor([row.prompt for row in rows]), torch.tensor([len(row.ids) for row in rows])
    for batch, _ in prefix_batches(ids, prompts, widths, token_budget):
        shared = 0
        if len(batch) > 1:
            same = (ids[batch] == ids[batch[:1]]).all(dim=0).long().cumprod(dim=0).sum()
            shared = min(int(same), int(prompts[batch].min()) - 1)
        if shared < LEAST_SHARED:
            shared = 0
        work += reading(0, shared, 0)
        for row in (rows[number] for number in batch.tolist()):
            work += reading(shared, len(row.ids), row.sampled)
    return work


def sampled_in(sequence: TokenSequence) -> int:
    """Sampled tokens of a sequence."""
    return sum(span.stop - span.start for span in sequence.spans)


def _teacher_start(sequence: TokenSequence) -> int:
    """Tokens before the first response in the teacher's sequence."""
    assert sequence.teacher_ids is not None
    starts = sequence.teacher_starts
    return starts[0] if starts is not None else sequence.starts_in(sequence.teacher_ids)[0]
