"""The micro study: what a skill-privileged teacher is worth over GRPO, with tiny policies.

Some three hours on two cores without the ablations on ALFWorld and the large batch. The quick start's setting: 30
updates of 4 tasks x 4 episodes. Every arm has the same baseline statistics and neither KL nor entropy term. Each has
one setting that is chosen on the validation panel, from three values by the same seeds for all: GRPO its learning rate,
the others their own strength at the quick start's learning rate. Nothing is chosen on the test panel.
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
_VIEW = "training.objective.teacher.view"
_SEEN = ("evaluation.split=valid_seen", "evaluation.tasks=256")
ALFWORLD = Setting(
    "quickstart",
    _SHARED,
    validation=("evaluation.split=valid_unseen", "evaluation.tasks=128", "evaluation.interval=0"),
    test=(*_SEEN, "evaluation.interval=10"),
)
# Without the evaluations in between, a third of a run's time.
_ALFWORLD_END = replace(ALFWORLD, test=(*_SEEN, "evaluation.interval=0"))


def _arm(method: str, *changes: str, name: str = "", tuned: str = "", values: tuple[str, ...] = ()) -> Arm:
    return Arm(name or method, (f"method={method}", *changes), tuned, values)


_RATES = ("5e-4", "1e-3", "2e-3")
GRPO = _arm("grpo", tuned="training.lr", values=_RATES)
SDAR_PUBLISHED = _arm("sdar", f"{_LAMBDA}=0.01", name="sdar, published λ")
SDAR_TUNED = _arm("sdar", name="sdar, λ tuned", tuned=_LAMBDA, values=("0.3", "1.0", "3.0"))
SDAR_SHARE = _arm("sdar", name="sdar, by share", tuned=_LAMBDA, values=("{share: 0.4}", "{share: 0.8}", "{share: 1.6}"))
# What was chosen on ALFWorld, to see whether a share carries over.
SDAR_SHARE_CARRIED = _arm("sdar", f"{_LAMBDA}={{share: 0.4}}", name="sdar, share .4")
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
# At most as many episodes in all as the others have: settled types are tested no more.
_SURE = (
    "training.iterations=24",
    "training.objective.distill.trust_episodes=1",
    "training.objective.distill.trust_confidence=0.95",
)
SDAR_SURE = _arm("sdar", *_SURE, name="sdar, trust at .95", tuned=_LAMBDA, values=("0.3", "1.0", "3.0"))
FROZEN_CE_SURE = _arm("frozen_ce", *_SURE, name="frozen_ce, trust at .95", tuned=_LAMBDA, values=("0.1", "0.4", "1.0"))
FROZEN_CE = _arm("frozen_ce", tuned=_LAMBDA, values=("0.1", "0.4", "1.0"))
FROZEN_RKL = _arm("frozen_rkl", tuned=_LAMBDA, values=("0.1", "0.3", "1.0"))
# Their own teachers read verified answers. They have no policy gradient, so that the rate is their strength.
SDPO_SKILLS = _arm("sdpo", f"{_VIEW}=skills", name="sdpo, with skills", tuned="training.lr", values=_RATES)
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
        SDAR_PUBLISHED,
        SDAR_TUNED,
        SDAR_SHARE,
        SDAR_TRUST,
        SDAR_SURE,
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
        SDPO_SKILLS,
        _arm("distil", f"{_VIEW}=skills", name="distil, with skills", tuned="training.lr", values=_RATES),
        ALLFAIL_CE,
        FROZEN_CE,
        FROZEN_CE_TRUST,
        FROZEN_CE_SURE,
        FROZEN_RKL,
    ),
)


def _controls(base: Part, control: str, title: str, tuned: Sequence[Arm], library: str = "") -> Part:
    """Tuned arms with other skills; their settings are those chosen with the right ones, as a user would have them."""
    other = f"skills.library={library}{control}"
    arms = (Arm(arm.name, (*arm.changes, other), arm.tuned, arm.values) for arm in tuned)
    setting = _ALFWORLD_END if base is MAIN else base.setting
    return Part(f"{base.name}-{control}", title, setting, (GRPO, *arms), base, in_figure=control == "wrong")


def _sdar(name: str, *changes: str) -> Arm:
    return _arm("sdar", f"{_LAMBDA}=1.0", *changes, name=name)


_GATE, _TEACHER = "training.objective.distill.gate", "training.objective.teacher"
ABLATIONS = Part(
    "alfworld-ablations",
    "One setting of SDAR with λ = 1 changed, on ALFWorld",
    _ALFWORLD_END,
    (
        GRPO,
        SDAR_TUNED,
        *(_arm("sdar", f"{_LAMBDA}={value}", name=f"λ = {value}") for value in ("0.1", "0.3", "3.0")),
        *(_sdar(f"β = {value}", f"{_GATE}.beta={value}") for value in ("1.0", "20.0")),
        # The gate without the gap: a push of one half on every sampled token, whatever the teacher says.
        _sdar("gate: constant 1/2", f"{_GATE}=constant"),
        _sdar("teacher: frozen", f"{_TEACHER}.weights=frozen"),
        _sdar("teacher: frozen, without skills", f"{_TEACHER}.weights=frozen", f"{_TEACHER}.view=none"),
        _sdar("teacher: moving average", f"{_TEACHER}.weights=ema", f"{_TEACHER}.rate=0.05"),
        _sdar("tokens of actions", "training.objective.distill.tokens=action"),
        _sdar("contrast with a wrong skill", "training.objective.distill.contrast=wrong"),
        _sdar("retired at a gap of .02", "training.objective.distill.retire_gap=0.02"),
        _sdar("all-fail groups only", "training.objective.distill.groups=all_fail"),
        _sdar("skills by BM25", "skills.strategy=bm25"),
        _sdar("skills at random", "skills.strategy=random"),
    ),
    MAIN,
    baseline=SDAR_TUNED.name,
    in_figure=False,
)
LARGE_BATCH = Part(
    "alfworld-64-episodes",
    "64 episodes an update, on ALFWorld",
    replace(_ALFWORLD_END, changes=(*_SHARED, "training.group_size=8", "training.tasks_per_iteration=8")),
    (GRPO, SDAR_TUNED, SDAR_SHARE, FROZEN_CE),
    MAIN,
    in_figure=False,
)


# Of one run each of λ = .3 and 1 both were behind GRPO, so that the values begin lower.
_SHOP_SDAR = replace(SDAR_TUNED, values=("0.1", "0.3", "1.0"))
WEBSHOP = Part(
    "webshop",
    "Methods on WebShop",
    Setting(
        "quickstart-webshop",
        _SHARED,
        validation=("evaluation.split=valid", "evaluation.tasks=96", "evaluation.interval=0"),
        test=("evaluation.split=test", "evaluation.tasks=256", "evaluation.interval=0"),
    ),
    # The arms that matter most: a run takes eight times as long as one of Search-QA.
    (
        GRPO,
        SDAR_PUBLISHED,
        _SHOP_SDAR,
        SDAR_SHARE,
        SDAR_SHARE_CARRIED,
        SDAR_SURE,
        SDPO_SKILLS,
        FROZEN_CE,
        FROZEN_CE_SURE,
    ),
)
SEARCHQA = Part(
    "searchqa",
    "Methods on Search-QA",
    Setting(
        "quickstart-searchqa",
        _SHARED,
        validation=("evaluation.split=dev", "evaluation.tasks=96", "evaluation.interval=0"),
        test=("evaluation.split=test", "evaluation.tasks=256", "evaluation.interval=0"),
    ),
    (*MAIN.arms, SDAR_SHARE_CARRIED),
)


def _full(method: str, name: str, *changes: str) -> Arm:
    return _arm(method, f"{_LAMBDA}=1.0", *changes, name=name)


# What was chosen for `frozen_ce` and `frozen_rkl` is λ = 1.
SEARCHQA_ABLATIONS = Part(
    "searchqa-ablations",
    "Which tokens, whose weights, which skills, on Search-QA",
    SEARCHQA.setting,
    (
        GRPO,
        FROZEN_CE,
        FROZEN_RKL,
        _full("frozen_ce", "cross-entropy, live teacher", f"{_TEACHER}.weights=live"),
        _full("frozen_ce", "cross-entropy, averaged teacher", f"{_TEACHER}.weights=ema", f"{_TEACHER}.rate=0.05"),
        _full("frozen_rkl", "reverse KL, live teacher", f"{_TEACHER}.weights=live"),
        _arm("sdar", f"{_TEACHER}.weights=frozen", f"{_LAMBDA}=0.3", name="sdar, λ = .3, frozen teacher"),
        _arm("sdar", f"{_TEACHER}.weights=frozen", f"{_LAMBDA}=3.0", name="sdar, λ = 3, frozen teacher"),
        _arm(
            "grpo_opsd",
            f"{_TEACHER}.weights=frozen",
            f"{_LAMBDA}=1.0",
            name="sampled reverse KL, λ = 1, frozen teacher",
        ),
        _full("frozen_ce", "cross-entropy, without skills", f"{_TEACHER}.view=none"),
        _full("frozen_ce", "cross-entropy, tokens of actions", "training.objective.distill.tokens=action"),
        _full("frozen_ce", "cross-entropy, skills by BM25", "skills.strategy=bm25"),
        _full("frozen_ce", "cross-entropy, skills at random", "skills.strategy=random"),
    ),
    SEARCHQA,
    in_figure=False,
)

_PROTECTED = (SDAR_TUNED, SDAR_SURE, FROZEN_CE, FROZEN_CE_SURE)
_CONTROLLED = {
    "mixed": "Half of the task types with another type's skill",
    "empty": "Skills without content",
    "irrelevant": "Skills about something else",
}
PARTS = (
    MAIN,
    _controls(
        MAIN,
        "wrong",
        "Skills of another task type, on ALFWorld",
        (
            SDAR_TUNED,
            SDAR_SHARE,
            SDAR_TRUST,
            SDAR_SURE,
            SDPO_SKILLS,
            ALLFAIL_CE,
            FROZEN_CE,
            FROZEN_CE_TRUST,
            FROZEN_CE_SURE,
        ),
    ),
    *(_controls(MAIN, name, f"{title}, on ALFWorld", (SDAR_SHARE, *_PROTECTED)) for name, title in _CONTROLLED.items()),
    WEBSHOP,
    _controls(
        WEBSHOP,
        "wrong",
        "Skills of another task type, on WebShop",
        (_SHOP_SDAR, SDAR_SHARE_CARRIED, SDPO_SKILLS, *_PROTECTED[1:]),
        "webshop-options:",
    ),
    SEARCHQA,
    _controls(
        SEARCHQA, "wrong", "Skills of another task type, on Search-QA", (SDAR_SHARE_CARRIED, SDPO_SKILLS, *_PROTECTED)
    ),
    # Of its library's three types `mixed` exchanges the two that are played, as `wrong` does.
    *(
        _controls(SEARCHQA, name, f"{_CONTROLLED[name]}, on Search-QA", (SDAR_SHARE_CARRIED, *_PROTECTED))
        for name in ("empty", "irrelevant")
    ),
    ABLATIONS,
    SEARCHQA_ABLATIONS,
    LARGE_BATCH,
)
