"""The micro study: what a skill-privileged teacher is worth over GRPO, with tiny policies, in some three hours.

The quick start's setting: 30 updates of 4 tasks x 4 episodes, tiny policies. Every arm has the same baseline statistics
and neither KL nor entropy term. Each has one setting that is chosen on the validation panel, from three values by the
same seeds for all: GRPO its learning rate, the others their own strength at the quick start's learning rate. Nothing is
chosen on the test panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sdar_gym.reproduce.study import Arm, Part, Setting

_SHARED = (
    "training.objective.advantage.statistics=turn",
    "training.objective.kl_coeff=0.0",
    "training.objective.entropy_coeff=0.0",
    "evaluation.teacher_tasks=0",
    "evaluation.token_turns=0",
)
_LAMBDA = "training.objective.distill.coeff"
ALFWORLD = Setting(
    "quickstart",
    _SHARED,
    validation=("evaluation.split=valid_unseen", "evaluation.tasks=128", "evaluation.interval=0"),
    test=("evaluation.split=valid_seen", "evaluation.tasks=256", "evaluation.interval=10"),
)


def _arm(method: str, *changes: str, name: str = "", tuned: str = "", values: tuple[str, ...] = ()) -> Arm:
    return Arm(name or method, (f"method={method}", *changes), tuned, values)


_RATES = ("5e-4", "1e-3", "2e-3")
GRPO = _arm("grpo", tuned="training.lr", values=_RATES)
SDAR_TUNED = _arm("sdar", name="sdar, λ tuned", tuned=_LAMBDA, values=("0.3", "1.0", "3.0"))
SDAR_SHARE = _arm("sdar", name="sdar, by share", tuned=_LAMBDA, values=("{share: 0.4}", "{share: 0.8}", "{share: 1.6}"))
# One episode of five is the teacher's: as many episodes in all as the others have.
SDAR_TRUST = _arm(
    "sdar",
    "training.iterations=24",
    "training.objective.distill.trust_episodes=1",
    name="sdar, trust",
    tuned=_LAMBDA,
    values=("0.3", "1.0", "3.0"),
)
FROZEN_CE_TRUST = _arm(
    "frozen_ce",
    "training.iterations=24",
    "training.objective.distill.trust_episodes=1",
    name="frozen_ce, trust",
    tuned=_LAMBDA,
    values=("0.1", "0.4", "1.0"),
)
FROZEN_CE = _arm("frozen_ce", tuned=_LAMBDA, values=("0.1", "0.4", "1.0"))
FROZEN_RKL = _arm("frozen_rkl", tuned=_LAMBDA, values=("0.1", "0.3", "1.0"))
ALLFAIL_CE = _arm("allfail_ce", tuned=_LAMBDA, values=("0.1", "0.4", "1.0"))

MAIN = Part(
    "alfworld",
    "Methods on ALFWorld",
    ALFWORLD,
    (
        GRPO,
        # As many more updates as the teacher's passes of an arm like SDAR cost.
        _arm("grpo", "training.iterations=42", name="grpo, 42 updates", tuned="training.lr", values=_RATES),
        _arm("skill_grpo", tuned="training.lr", values=_RATES),
        _arm("gigpo", tuned="training.objective.advantage.step_weight", values=("0.5", "1.0", "2.0")),
        _arm("sdar", f"{_LAMBDA}=0.01", name="sdar, published λ"),
        SDAR_TUNED,
        SDAR_SHARE,
        SDAR_TRUST,
        _arm(
            "sdar",
            "training.objective.advantage={estimator: gigpo, normalize_by_std: false, step_weight: 1.0, gamma: 0.95}",
            name="sdar + gigpo",
            tuned=_LAMBDA,
            values=("0.3", "1.0", "3.0"),
        ),
        _arm("opsd_sdar_repo", name="opsd, as released", tuned=_LAMBDA, values=("0.01", "0.1", "1.0")),
        _arm("grpo_opsd_sdar_repo", name="grpo + opsd, as released", tuned=_LAMBDA, values=("0.01", "0.1", "1.0")),
        _arm("grpo_opsd", name="grpo + opsd, reverse KL", tuned=_LAMBDA, values=("0.03", "0.1", "0.3")),
        _arm("skill_sd", tuned=_LAMBDA, values=("0.01", "0.1", "1.0")),
        _arm("rlsd", tuned="training.objective.shaping.coeff", values=("0.25", "0.5", "1.0")),
        ALLFAIL_CE,
        FROZEN_CE,
        FROZEN_CE_TRUST,
        FROZEN_RKL,
    ),
)


def _controls(base: Part, control: str, title: str, tuned: Sequence[Arm]) -> Part:
    """Tuned arms with other skills; their settings are those chosen with the right ones, as a user would have them."""
    arms = (Arm(arm.name, (*arm.changes, f"skills.library={control}"), arm.tuned, arm.values) for arm in tuned)
    return Part(f"{base.name}-{control}", title, base.setting, (GRPO, *arms), base)


_BARE = (SDAR_TUNED, SDAR_SHARE, FROZEN_CE)
_TESTED = (SDAR_TUNED, SDAR_SHARE, SDAR_TRUST, ALLFAIL_CE, FROZEN_CE, FROZEN_CE_TRUST)


def _sdar(name: str, *changes: str) -> Arm:
    return _arm("sdar", f"{_LAMBDA}=1.0", *changes, name=name)


_GATE, _TEACHER = "training.objective.distill.gate", "training.objective.teacher"
ABLATIONS = Part(
    "alfworld-ablations",
    "One setting of SDAR with λ = 1 changed, on ALFWorld",
    ALFWORLD,
    (
        GRPO,
        SDAR_TUNED,
        *(_arm("sdar", f"{_LAMBDA}={value}", name=f"λ = {value}") for value in ("0.03", "0.1", "0.3", "3.0")),
        *(_sdar(f"β = {value}", f"{_GATE}.beta={value}") for value in ("1.0", "20.0")),
        # The gate without the gap: a push of one half on every sampled token, whatever the teacher says.
        _sdar("gate: constant 1/2", f"{_GATE}=constant"),
        _sdar("gate: entropy", f"{_GATE}=entropy"),
        _sdar("gate: soft_or", f"{_GATE}=soft_or"),
        _sdar("teacher: frozen", f"{_TEACHER}.weights=frozen"),
        _sdar("teacher: moving average", f"{_TEACHER}.weights=ema", f"{_TEACHER}.rate=0.05"),
        _sdar("all-fail groups only", "training.objective.distill.groups=all_fail"),
        _sdar("positive advantages only", "training.objective.distill.positive_only=true"),
        _sdar("skills by BM25", "skills.strategy=bm25"),
        _sdar("skills at random", "skills.strategy=random"),
    ),
    MAIN,
    baseline=SDAR_TUNED.name,
)
LARGE_BATCH = Part(
    "alfworld-64-episodes",
    "64 episodes an update, on ALFWorld",
    replace(ALFWORLD, changes=(*_SHARED, "training.group_size=8", "training.tasks_per_iteration=8")),
    (GRPO, SDAR_TUNED, SDAR_SHARE, FROZEN_CE),
    MAIN,
)

PARTS = (
    MAIN,
    _controls(MAIN, "wrong", "Skills of another task type, on ALFWorld", _TESTED),
    _controls(MAIN, "empty", "Skills without content, on ALFWorld", _BARE),
    _controls(MAIN, "irrelevant", "Skills about something else, on ALFWorld", _BARE),
    ABLATIONS,
    LARGE_BATCH,
)
