"""Notices: warnings about a run's metrics, each issued once."""

from __future__ import annotations

import math
from collections.abc import Mapping

# Updates in a row without spread before the notice: with few groups, a single one happens by chance.
_FLAT_UPDATES = 3
# In nats a token. Source: TRL issue 5312, where a sampler that had kept its first weights differed from the learner by
# 0.2 in the mean log-probability, and a healthy one in half precision by 0.015; half their squares are 0.02 and 0.0001.
_MISMATCH = 0.02


# Shares of the policy gradient's norm between which a teacher is neither silent nor alone; see docs/learner.md.
_WEAK_TEACHER, _STRONG_TEACHER = 0.05, 2.0


class Notices:
    """The notices of a run's updates: each is issued once, and missing spread only if it persists."""

    def __init__(self) -> None:
        self._issued: set[str] = set()
        self._flat = 0

    def new(self, figures: Mapping[str, float]) -> list[str]:
        """The notices of an update that were not issued before.

        Args:
            figures: See `notices`.
        """
        found = notices(figures)
        self._flat = self._flat + 1 if "spread" in found else 0
        if self._flat < _FLAT_UPDATES:
            found.pop("spread", None)
        fresh = [sentence for name, sentence in found.items() if name not in self._issued]
        self._issued |= set(found)
        return fresh


def notices(figures: Mapping[str, float]) -> dict[str, str]:
    """Notices about metrics that indicate a problem, each under a short name.

    Args:
        figures: Metrics from `turn_metrics` and, during training, from the update (`no_spread_fraction`, …).
    """
    found: dict[str, str] = {}
    turns = figures.get("turns", 1)
    if not turns:
        return found
    cut = figures.get("cut_off", 0.0) > 0.5 and figures.get("form_errors", 0.0) > 0.25
    if figures.get("form_errors", 0.0) >= 1.0 and not cut:
        found["form"] = (
            "No response had the required form, so that no action was chosen on purpose. Show the form with "
            "rollout.few_shot=2 or rollout.system, use a stronger model, or another rollout.prompt."
        )
    if cut:
        found["cut"] = (
            f"{figures['cut_off']:.0%} of the responses were cut off at the limit, and {figures['form_errors']:.0%} "
            "lack the required form: raise rollout.max_response_tokens."
        )
    if figures.get("teacher_too_long", 0.0) > 0.1:
        found["teacher"] = (
            f"{figures['teacher_too_long']:.0%} of the turns had no teacher, because its prompt was too long: raise "
            "rollout.max_teacher_prompt_tokens, or lower skills.k."
        )
    if figures.get("prompts_cut", 0.0) > 0.5:
        found["prompts"] = (
            f"{figures['prompts_cut']:.0%} of the prompts left past turns out to keep the limit: raise "
            "rollout.max_prompt_tokens, or lower rollout.window."
        )
    full = figures.get("context_full", 0.0)
    if full > 0.1 * figures.get("episodes", figures.get("tasks", math.inf)):
        found["full"] = (
            f"{full:.0f} episode(s) ended because their conversation had no room for another turn: raise "
            "rollout.max_context_tokens, lower rollout.max_response_tokens, or show fewer lists with "
            "rollout.show_actions."
        )
    if figures.get("no_spread_fraction", 0.0) >= 1.0:
        solved = figures.get("success", 0.0) >= 1.0
        remedy = (
            "All of them succeeded: take harder tasks."
            if solved
            else ("Make tasks easier, raise training.group_size, or start from a policy that succeeds at times.")
        )
        found["spread"] = (
            "No group had spread: all episodes of each task had the same reward, so that the policy gradient is zero "
            f"and only the teacher, the KL term and the entropy bonus train. {remedy}"
        )
    if figures.get("mismatch_kl", 0.0) > _MISMATCH:
        found["mismatch"] = (
            f"The sampler is far from the learner (mismatch_kl {figures['mismatch_kl']:.2g} nats a token): the engine "
            "has other weights, or much less precision. Compare with rollout.engine=transformers; differences of "
            "precision are corrected with training.old_logp=learner."
        )
    share = figures.get("distill_gradient_share", math.nan)
    # RLlib reports what was not measured at this update as nan.
    if math.isfinite(share) and not _WEAK_TEACHER <= share <= _STRONG_TEACHER:
        found["share"] = (
            f"The distillation's gradient has {share:.0%} of the policy gradient's norm: the teacher "
            + ("hardly acts" if share < _WEAK_TEACHER else "outweighs the reward")
            + ". training.objective.distill.coeff={share: 0.4} sets λ by this share."
        )
    if figures.get("runner_deaths", 0.0) > 0:
        found["lost"] = (
            f"{figures['runner_deaths']:.0f} env runner(s) died; their episodes were played again, or by others."
        )
    if figures.get("engine_out_of_memory", 0.0) > 0:
        found["memory"] = (
            "An engine was out of memory and computes less at once from now on: lower rollout.max_batch_tokens, or "
            "give it more of the device."
        )
    if figures.get("failed_episodes", 0.0) > 0:
        found["failed"] = (
            f"{figures['failed_episodes']:.0f} episode(s) ended by an error of the environment, which cost their "
            "groups; episodes/*.jsonl has the errors."
        )
    return found
