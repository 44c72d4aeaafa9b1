"""Work of an update in tokens: what each pass over the episodes reads, predicts and attends to.

Exact for the given episodes, with three simplifications: padding is left out, rows of equal tokens are not merged,
and a prefix that teacher prompts share is found within an episode, not over a whole group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.plan.model_size import ModelSize
from sdar_gym.policy.prefix_caching import LEAST_SHARED
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
        student: One pass over all sequences, as for log-probabilities before the update.
        teacher: The same behind the teacher's prompts, a prefix that an episode's prompts share once.
    """

    prefill: Work
    decode: Work
    student: Work
    teacher: Work

    def __add__(self, other: UpdateWork) -> UpdateWork:
        return UpdateWork(
            self.prefill + other.prefill,
            self.decode + other.decode,
            self.student + other.student,
            self.teacher + other.teacher,
        )

    def __mul__(self, factor: float) -> UpdateWork:
        return UpdateWork(self.prefill * factor, self.decode * factor, self.student * factor, self.teacher * factor)


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


def update_work(episodes: Iterable[Episode]) -> UpdateWork:
    """The work of an update on these episodes."""
    return sum((_of_episode(episode) for episode in episodes), UpdateWork(Work(), Work(), Work(), Work()))


def _of_episode(episode: Episode) -> UpdateWork:
    total = UpdateWork(Work(), Work(), Work(), _teacher(episode.sequences))
    for sequence in episode.sequences:
        prefill, decode, read = Work(), Work(), 0
        for span in sequence.spans:
            # The first response token is predicted at the end of the prompt. The last one sampled is read only if
            # something follows it.
            prefill += reading(read, span.start, 1)
            decode += reading(span.start, span.stop - 1, span.stop - 1 - span.start)
            read = span.stop - 1
        sampled = sum(span.stop - span.start for span in sequence.spans)
        student = reading(0, sequence.spans[-1].stop, sampled)
        total += UpdateWork(prefill, decode, student, Work())
    return total


def _teacher(sequences: Sequence[TokenSequence]) -> Work:
    """The teacher's pass over an episode; without gradients a common prefix is read once."""
    taught = [sequence for sequence in sequences if sequence.teacher_ids is not None]
    if not taught:
        return Work()
    prompts = [(sequence.teacher_ids or [])[: _teacher_start(sequence)] for sequence in taught]
    shared = _common_prefix(prompts) if len(taught) > 1 else 0
    if shared < LEAST_SHARED:
        shared = 0
    work = reading(0, shared, 0)
    for sequence in taught:
        shift = len(sequence.teacher_ids or []) - len(sequence.ids)
        sampled = sum(span.stop - span.start for span in sequence.spans)
        work += reading(shared, sequence.spans[-1].stop + shift, sampled)
    return work


def _teacher_start(sequence: TokenSequence) -> int:
    return sequence.spans[0].start + len(sequence.teacher_ids or []) - len(sequence.ids)


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that all rows begin with, less one: the last token of a prompt is always computed."""
    shortest = min(len(row) for row in rows)
    first = rows[0]
    for place in range(shortest):
        if any(row[place] != first[place] for row in rows):
            return place
    return max(0, shortest - 1)
