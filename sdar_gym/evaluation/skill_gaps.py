"""Gaps of finished episodes: teacher minus student log-probability of the student's tokens, scored without Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from sdar_gym.algorithms.losses.sampled_divergences import teacher_gap
from sdar_gym.algorithms.methods import get_method
from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.prompting import PrivilegedContext
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.device import choose_device
from sdar_gym.policy.load import load_model_config, load_tokenizer, pad_id
from sdar_gym.policy.policy_model import load_policy_model
from sdar_gym.policy.sizing import default_batch_tokens, set_threads
from sdar_gym.rollout.build import build_context
from sdar_gym.rollout.context import PromptTooLongError
from sdar_gym.rollout.trajectory import Episode, TokenSequence
from sdar_gym.training.collate import TEACHER_INPUT_IDS, TEACHER_POSITION, Columns
from sdar_gym.training.pipeline import UpdatePipeline
from sdar_gym.training.scoring import Scorer
from sdar_gym.training.token_classes import ACTION, token_classes


@dataclass(frozen=True, slots=True)
class EpisodeGap:
    """Sums over the scored tokens of one episode, in nats.

    Attributes:
        total: Sum of teacher minus student log-probability over all tokens.
        tokens: Number of tokens.
        action_total: The same sum over the tokens of actions.
        action_tokens: Number of action tokens.
    """

    total: float
    tokens: int
    action_total: float
    action_tokens: int


class GapScorer:
    """Scores a policy's own tokens with and without a privileged context, with the numerics of the learner.

    Args:
        run: Determines prompts, temperature and precision.
        model_name: The policy; teacher and student are this one.
    """

    def __init__(self, run: RunConfig, model_name: str):
        self._tokenizer = load_tokenizer(model_name)
        # The limits under which the episodes were played.
        rollout = run.rollout.within(context_length(load_model_config(model_name)))
        self._context = build_context(self._tokenizer, run.env, run.env_config, rollout)
        model, _, compute = load_policy_model(model_name, run.policy.dtype, None, trained=run.policy.lora is None)
        device = choose_device(run.policy.device)
        torch.nn.Module.to(model, device)
        set_threads(run.policy.torch_threads, model, 1)
        numerics = (
            contextlib.nullcontext if compute is None else partial(torch.autocast, torch.device(device).type, compute)
        )
        budget = run.training.micro_batch_tokens or default_batch_tokens(model)
        scorer = Scorer(budget, run.rollout.temperature, torch.device(device), numerics, compute)

        def score(columns: Columns, names: Sequence[str]) -> Mapping[str, Tensor]:
            student_BT, entropy_BT = scorer.student(model, columns)
            teacher_BT = scorer.logp(model, columns, TEACHER_INPUT_IDS, TEACHER_POSITION)
            return {"student": student_BT, "entropy": entropy_BT, "teacher": teacher_BT}

        # Any method with skills in its teacher's prompt and a live teacher: what is scored depends on nothing else.
        self._pipeline = UpdatePipeline(get_method("sdar").objective, score, pad_id=pad_id(self._tokenizer))

    def gaps(
        self, episodes: Sequence[Episode], context_of: Callable[[Episode], PrivilegedContext]
    ) -> list[EpisodeGap | None]:
        """The gaps of episodes that were played without a privileged context.

        Args:
            episodes: Finished episodes.
            context_of: What the teacher reads in an episode.

        Returns:
            For each episode its sums; None where no turn has a teacher's prompt within the limit.
        """
        played = [number for number, episode in enumerate(episodes) if episode.turns]
        copies = [self._with_teacher(episodes[number], context_of(episodes[number])) for number in played]
        if not copies:
            return [None] * len(episodes)
        # Advantages are not used here, so all episodes may be one group; a single one is scored beside itself.
        batch = self._pipeline.prepare(copies if len(copies) > 1 else copies * 2, 0)
        batch = self._pipeline.score(batch, 0, diagnostics=True)
        gap_BT = teacher_gap(batch.teacher_logp_BT, batch.student_logp_BT, batch.response_mask_BT).double()
        found: list[EpisodeGap | None] = [None] * len(episodes)
        for place, number in enumerate(played):
            rows = ((batch.episode_B == place) & batch.scored_B).nonzero().flatten().tolist()
            total, tokens, action_total, action_tokens = 0.0, 0, 0.0, 0
            for row in rows:
                turn = batch.turns[row]
                values = gap_BT[row, : len(turn.response_ids)].tolist()
                classes = token_classes(self._tokenizer, turn.response_ids, turn.action)
                acted = [value for value, kind in zip(values, classes, strict=True) if kind == ACTION]
                total, tokens = total + sum(values), tokens + len(values)
                action_total, action_tokens = action_total + sum(acted), action_tokens + len(acted)
            if rows:
                found[number] = EpisodeGap(total, tokens, action_total, action_tokens)
        return found

    def _with_teacher(self, episode: Episode, context: PrivilegedContext) -> Episode:
        """A copy whose token sequences have a teacher's prompt, all in one group."""

        def taught(sequence: TokenSequence) -> TokenSequence:
            try:
                ids, starts = self._context.teacher_tokens(episode, sequence, [context] * len(sequence.spans))
            except PromptTooLongError:
                return replace(sequence, teacher_ids=None, teacher_starts=None)
            return replace(sequence, teacher_ids=ids, teacher_starts=starts)

        return replace(episode, group_id=0, sequences=[taught(sequence) for sequence in episode.sequences])


def mean_gap(gaps: Sequence[EpisodeGap], *, action: bool = False) -> float | None:
    """The mean gap per token, in nats; None without tokens.

    Args:
        gaps: Of the episodes.
        action: Whether only the tokens of actions count.
    """
    tokens = sum(gap.action_tokens if action else gap.tokens for gap in gaps)
    total = sum(gap.action_total if action else gap.total for gap in gaps)
    return total / tokens if tokens else None
