"""Objectives that make no sense are refused with the reason; plain configuration values are accepted."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sdar_gym.algorithms
from sdar_gym.algorithms.methods.adrs import AlignmentBonus
from sdar_gym.algorithms.methods.agent_opsd import BeliefShaper
from sdar_gym.algorithms.methods.distil import FutureCredit
from sdar_gym.algorithms.methods.experimental.ocsd import ContrastShaper
from sdar_gym.algorithms.methods.experimental.step_opsd import TurnBudgetShaper
from sdar_gym.algorithms.methods.grsd import GRSDShaper
from sdar_gym.algorithms.methods.opid import GapBonus
from sdar_gym.algorithms.methods.rlsd import RLSDShaper
from sdar_gym.algorithms.methods.sdar import ConstantGate, EntropyGate, SigmoidGate
from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights

SAMPLED = {"coeff": 0.3}
FULL = {"coeff": 0.3, "divergence": "forward_ce", "support": "full"}
SKILLS = {"view": "skills"}
BLANKED = {"view": "feedback", "blank_control": True}


def whole(**changes: Any) -> dict[str, Any]:
    """An objective that distills, with changes."""
    return {"teacher": SKILLS, "distill": SAMPLED} | changes


OBJECTIVES = [
    ({"policy_coeff": 0.0}, "nothing to learn from"),
    (whole(policy_coeff=0.0, distill=None, shaping="rlsd"), "nothing to learn from"),
    ({"policy_coeff": -1.0}, "policy_coeff must never be negative"),
    ({"policy_coeff": "1"}, "policy_coeff must be a finite number, got '1'"),
    ({"policy_coeff": {"kind": "linear"}}, "policy_coeff must be a number or points"),
    ({"kl_coeff": -0.1}, "kl_coeff must be a finite number of at least 0, got -0.1"),
    ({"entropy_coeff": float("nan")}, "entropy_coeff must be a finite number"),
    ({"aggregation": "mean"}, "aggregation must be one of"),
    ({"clip_low": 0.0}, "clip_low must be a finite number above 0 and at most 1"),
    ({"clip_low": 1.5}, "clip_low must be a finite number above 0 and at most 1"),
    ({"clip_high": -0.1}, "clip_high must be a finite number above 0"),
    ({"clip_high": float("inf")}, "clip_high must be a finite number above 0"),
    ({"dual_clip": 0.5}, "dual_clip must be a finite number above 1"),
    ({"dual_clip": 1.0}, "dual_clip must be a finite number above 1"),
    ({"advantage": None}, "advantage is a group of settings, got None"),
    ({"advantage": {"estimatr": "grpo"}}, r"advantage has no setting 'estimatr'\. Did you mean 'estimator'"),
    ({"teacher": "skills"}, "teacher is a group of settings, got 'skills'"),
    (whole(distill={"divergence": "log_ratio"}), r"distill\.coeff must be set"),
    (whole(distill={"coeff": 0.0}), r"distill\.coeff is 0 at every step; leave distill out"),
    ({"distill": SAMPLED}, "distill needs a teacher"),
    ({"shaping": "rlsd"}, "shaping needs a teacher"),
    ({"teacher": SKILLS}, "Neither distill nor shaping uses the teacher"),
    (whole(shaping="ocsd"), r"set teacher\.blank_control=true, with teacher\.view='feedback'"),
    (whole(teacher=BLANKED), "blanked prompt, which only a shaper with a contrast uses"),
    (whole(teacher=BLANKED, shaping="rlsd"), r"blanked prompt, which shaping\.name='rlsd' does not use"),
    (whole(teacher=BLANKED, distill=FULL, shaping="future_credit"), "'future_credit' does not use"),
    (whole(teacher={"view": "sibling"}, distill=SAMPLED | {"groups": "all_fail"}), "never has a teacher"),
    (whole(distill=None, shaping="future_credit"), "needs distill with a divergence over distributions"),
    (whole(shaping="future_credit"), "needs distill with a divergence over distributions"),
    (whole(distill=FULL | {"groups": "all_fail"}, shaping="future_credit"), "needs the cost of every token"),
    (whole(distill=FULL | {"tokens": "action"}, shaping="future_credit"), "needs the cost of every token"),
    (whole(distill=FULL | {"positive_only": True}, shaping="future_credit"), "needs the cost of every token"),
    (whole(distill=FULL, shaping={"name": "future_credit", "coeff": 0.1}), r"shaping has no setting 'coeff'"),
    (whole(distill=SAMPLED | {"trust_confidence": 0.9}), r"trust_confidence=0\.9 has no effect"),
    (whole(distill=SAMPLED | {"trust_episodes": 1, "trust_confidence": 0.5}), "trust_confidence must be"),
    (whole(distill=SAMPLED | {"retire_gap": 0.0}), "retire_gap must be"),
    (whole(distill={"coeff": {"share": 0.5}, "retire_gap": 0.1}), "would make up for them"),
    (whole(distill=FULL | {"retire_gap": 0.1}, shaping="future_credit"), "needs the cost of every token"),
    (whole(distill=SAMPLED | {"contrast": "empty"}), "reads only in its gate"),
    (whole(distill=SAMPLED | {"contrast": "wrong", "gate": "constant"}), "reads only in its gate"),
    (whole(teacher={"view": "sibling"}, distill=FULL | {"contrast": "empty"}), "in the place of the skills"),
    (whole(policy_coeff=0.0, shaping="rlsd"), "policy_coeff is 0: there is none. Use a bonus"),
    (whole(policy_coeff=0.0, distill=SAMPLED | {"positive_only": True}), "asks for the advantage's sign"),
    (whole(policy_coeff=0.0, distill=SAMPLED | {"gate": "influence"}), "asks for the advantage's sign"),
]

ADVANTAGES = [
    ({"estimator": "ppo"}, r"advantage\.estimator must be one of"),
    ({"statistics": "row"}, r"advantage\.statistics must be one of"),
    ({"normalize_by_std": "false"}, r"advantage\.normalize_by_std must be true or false"),
    ({"estimator": "gigpo"}, r"needs advantage\.step_weight and advantage\.gamma"),
    ({"estimator": "gigpo", "step_weight": 1.0}, r"needs advantage\.step_weight and advantage\.gamma"),
    ({"estimator": "gigpo", "step_weight": 0.0, "gamma": 0.9}, r"advantage\.step_weight must be a .* above 0"),
    ({"estimator": "gigpo", "step_weight": 1.0, "gamma": 1.1}, r"advantage\.gamma must be a .* from 0 to 1"),
    ({"estimator": "gigpo", "step_weight": 1.0, "gamma": -0.1}, r"advantage\.gamma must be a .* from 0 to 1"),
    ({"step_weight": 1.0}, r"advantage\.step_weight=1\.0 has no effect"),
    ({"gamma": 0.9}, r"advantage\.gamma=0\.9 has no effect"),
    ({"estimator": "rloo"}, "does not divide by the deviation"),
    ({"estimator": "rloo", "normalize_by_std": False, "statistics": "turn"}, "compares trajectories"),
]

TEACHERS = [
    ({"view": "skill"}, r"teacher\.view must be one of"),
    ({"weights": "old"}, r"teacher\.weights must be one of"),
    ({"view": "none"}, "makes the teacher the student"),
    ({"weights": "ema"}, r"needs teacher\.rate"),
    ({"weights": "ema", "rate": 0.0}, r"teacher\.rate must be a finite number above 0"),
    ({"weights": "ema", "rate": 1.0}, r"write teacher\.weights='live'"),
    ({"rate": 0.1}, r"teacher\.rate=0\.1 has no effect"),
    ({"weights": "stale"}, r"needs teacher\.every"),
    ({"weights": "stale", "every": 0}, r"teacher\.every must be a whole number from 1"),
    ({"weights": "frozen", "every": 5}, r"teacher\.every=5 has no effect"),
    ({"weights": "external"}, r"needs teacher\.model"),
    ({"model": "some/model"}, r"teacher\.model='some/model' has no effect"),
    ({"blank_control": True}, "has no blank form"),
    ({"blank_control": "false"}, r"teacher\.blank_control must be true or false"),
]

FLIPS = "could reach 0 and flip the advantage's sign"
NEVER = "must not be negative, nor 0 at every step"
SHAPERS = [
    *((kind, {"coeff": 0.0}, NEVER) for kind in (RLSDShaper, BeliefShaper, GRSDShaper, TurnBudgetShaper)),
    *((kind, {"coeff": Schedule.linear(1, -1, 9)}, NEVER) for kind in (ContrastShaper, GapBonus, AlignmentBonus)),
    (RLSDShaper, {"coeff": None}, r"shaping\.coeff must be a finite number"),
    *((kind, {"limit": 0.0}, r"shaping\.limit must be a .* above 0") for kind in (RLSDShaper, AlignmentBonus)),
    *((kind, {"limit": 2.0}, FLIPS) for kind in (RLSDShaper, BeliefShaper, GRSDShaper)),
    (RLSDShaper, {"coeff": Schedule.linear(2.0, 0.1, 9), "limit": 0.6}, FLIPS),
    (TurnBudgetShaper, {"coeff": 0.5, "scale": 2.0}, FLIPS),
    (ContrastShaper, {"coeff": 1.0}, FLIPS),
    *((kind, {"scale": 0.0}, r"shaping\.scale must be a .* above 0") for kind in (BeliefShaper, AlignmentBonus)),
    (BeliefShaper, {"decay": 1.5}, r"shaping\.decay must be a finite number above 0 and at most 1"),
    (BeliefShaper, {"decay": 0.0}, r"shaping\.decay must be a finite number above 0 and at most 1"),
    (ContrastShaper, {"uncertain_turns": 1.0}, r"shaping\.uncertain_turns must be a .* above 0 and below 1"),
    (ContrastShaper, {"uncertain_turns": 0.0}, r"shaping\.uncertain_turns must be a .* above 0 and below 1"),
    (FutureCredit, {"gamma": 0.0}, r"shaping\.gamma must be a finite number above 0 and at most 1"),
    (FutureCredit, {"gamma": 1.01}, r"shaping\.gamma must be a finite number above 0 and at most 1"),
    (FutureCredit, {"baseline": "mean"}, r"shaping\.baseline must be one of"),
    (FutureCredit, {"cost": "reverse_kl"}, r"shaping\.cost must be one of"),
]

GATES = [
    (SigmoidGate, {"beta": 0.0}, r"distill\.gate\.beta must be a finite number above 0"),
    (SigmoidGate, {"beta": -5.0}, r"distill\.gate\.beta must be a finite number above 0"),
    (EntropyGate, {"beta": None}, r"distill\.gate\.beta must be a finite number above 0"),
    (ConstantGate, {"value": 0.0}, r"distill\.gate\.value must be a finite number above 0"),
]

DISTILLATIONS = [
    ({"coeff": "0.01"}, r"distill\.coeff must be a finite number, got '0.01'"),
    ({"coeff": [[0, 1], [5, -1]]}, r"distill\.coeff must never be negative"),
    (SAMPLED | {"divergence": "kl"}, r"distill\.divergence must be one of"),
    (SAMPLED | {"support": "top"}, r"distill\.support must be one of"),
    (SAMPLED | {"gate": "sigmoidal"}, r"distill\.gate: unknown gate 'sigmoidal'\. Did you mean 'sigmoid'"),
    (SAMPLED | {"groups": "failed"}, r"distill\.groups must be one of"),
    (SAMPLED | {"groups": "mixed"}, r"distill\.groups must be one of"),
    (SAMPLED | {"positive_only": 1}, r"distill\.positive_only must be true or false"),
    (SAMPLED | {"support": "full"}, r"'log_ratio' goes with distill\.support='sampled', got 'full'"),
    (
        SAMPLED | {"divergence": "reverse_kl"},
        r"'reverse_kl' goes with distill\.support='topk', 'full' or 'teacher_samples', got 'sampled'",
    ),
    (FULL | {"support": "topk"}, r"needs distill\.k"),
    (FULL | {"support": "topk", "k": 1}, r"distill\.k must be a whole number from 2"),
    (FULL | {"support": "topk", "k": 5, "topk_source": "both"}, r"distill\.topk_source must be one of"),
    (FULL | {"support": "topk", "k": 5, "tail_bucket": "no"}, r"distill\.tail_bucket must be true or false"),
    (FULL | {"k": 5}, r"distill\.k=5 has no effect"),
    (FULL | {"topk_source": "teacher"}, r"distill\.topk_source='teacher' has no effect"),
    (FULL | {"tail_bucket": False}, r"distill\.tail_bucket=False has no effect"),
    (
        FULL | {"divergence": "forward_kl", "support": "teacher_samples", "samples": 4},
        "estimates distill.divergence='forward_ce' only",
    ),
    (FULL | {"divergence": "forward_ce", "support": "teacher_samples"}, r"needs distill\.samples"),
    (FULL | {"samples": 4}, r"distill\.samples=4 has no effect"),
    (
        {"coeff": 1.0, "divergence": "forward_ce", "support": "teacher_samples", "samples": 4, "gate": "sigmoid"},
        "distill.support='teacher_samples' may not have",
    ),
    (FULL | {"divergence": "jsd"}, r"needs distill\.alpha in \[0, 1\]"),
    (FULL | {"divergence": "jsd", "alpha": 1.5}, r"distill\.alpha must be a finite number from 0 to 1"),
    (SAMPLED | {"alpha": 0.5}, r"distill\.alpha=0\.5 has no effect"),
    (FULL | {"divergence": "reverse_kl", "teacher_floor": 0.0}, r"distill\.teacher_floor must be a .* below 0"),
    (FULL | {"teacher_floor": -12.0}, r"distill\.teacher_floor=-12\.0 has no effect"),
    (SAMPLED | {"gate": {"name": "constant", "beta": 5.0}}, r"distill\.gate has no setting 'beta'"),
    (SAMPLED | {"gate": {"name": "sigmoid", "beta": 0}}, r"distill\.gate\.beta must be a .* above 0, got 0"),
    (FULL | {"support": "topk", "k": 5, "gate": "sigmoid"}, "distill.support='topk' may not have"),
    (SAMPLED | {"ratio_cap": 0.5}, r"distill\.ratio_cap must be a finite number of at least 1"),
    (SAMPLED | {"divergence": "reverse_kl_k3", "ratio_cap": 2.0}, "has its own importance ratio"),
]

REFUSALS = [
    *((Objective, *row) for row in OBJECTIVES),
    *((AdvantageEstimator, *row) for row in ADVANTAGES),
    *((Teacher, *row) for row in TEACHERS),
    *((Distillation, *row) for row in DISTILLATIONS),
    *SHAPERS,
    *GATES,
]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        pytest.param(*row, id=f"{row[0].__name__}-{row[2][:40]}-{number}")  # pyright: ignore
        for number, row in enumerate(REFUSALS)
    ],
)
def test_senseless_settings_are_refused_with_the_reason(kind, settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_plain_configuration_values_are_accepted():
    written = Objective(
        teacher={"view": "sibling", "weights": "ema", "rate": 0.05},  # type: ignore[arg-type]
        distill={"coeff": 0.3, "gate": {"name": "sigmoid", "beta": 2}},  # type: ignore[arg-type]
        shaping={"name": "step_opsd", "coeff": [[0, 0.5], [10, 0]]},  # type: ignore[arg-type]
        kl_coeff=1,
    )
    built = Objective(
        teacher=Teacher(View.SIBLING, Weights.EMA, rate=0.05),
        distill=Distillation(Schedule.constant(0.3), gate=SigmoidGate(2.0)),
        shaping=TurnBudgetShaper(Schedule.linear(0.5, 0.0, 10)),
        kl_coeff=1.0,
    )
    assert written == built
    assert pickle.loads(pickle.dumps(written)) == built


def test_topk_has_defaults_and_only_topk():
    chosen = Distillation(**(FULL | {"support": "topk", "k": 5}))
    assert (chosen.topk_source, chosen.tail_bucket) == ("teacher", True)
    full = Distillation(**FULL)
    assert (full.k, full.topk_source, full.tail_bucket) == (None, None, None)


def needs(objective: Objective, step: int = 0) -> tuple[bool, bool, bool, tuple[str, ...]]:
    """Whether a step distills, shapes, and needs distributions; and the scores it needs beforehand."""
    return (
        objective.distills_at(step),
        objective.shaping_coeff_at(step) != 0.0,
        objective.needs_distributions_at(step),
        objective.required_scores(step),
    )


def test_what_a_step_needs():
    nothing = (False, False, False, ())
    assert needs(Objective()) == nothing
    assert needs(Objective(**whole())) == (True, False, False, ("teacher",))
    assert needs(Objective(**whole(distill=FULL))) == (True, False, True, ())
    assert needs(Objective(**whole(distill=FULL, shaping="future_credit"))) == (True, True, True, ("cost",))
    assert needs(Objective(**whole(shaping="rlsd"))) == (True, True, False, ("student", "teacher"))
    contrast = Objective(teacher=Teacher(View.FEEDBACK, blank_control=True), shaping=ContrastShaper())
    assert needs(contrast) == (False, True, False, ("student", "teacher", "control"))
    shaped = Objective(teacher=Teacher(), shaping=RLSDShaper(Schedule.window(0.5, hold=3)))
    assert needs(shaped, 2) == (False, True, False, ("student", "teacher"))
    assert shaped.needs_teacher_at(2) and not shaped.needs_teacher_at(3) and shaped.needs_teacher
    assert needs(shaped, 3) == nothing
    faded = Objective(**whole(distill=FULL | {"coeff": Schedule.linear(1, 0, 3)}, shaping="future_credit"))
    assert needs(faded, 2)[:2] == (True, True) and needs(faded, 3) == nothing


def test_diagnostics_compare_student_and_teacher_wherever_there_is_one():
    both = ("student", "teacher")
    assert Objective(**whole()).required_scores(0, diagnostics=True) == both
    assert Objective(**whole(distill=FULL)).required_scores(0, diagnostics=True) == both
    credited = Objective(**whole(distill=FULL, shaping="future_credit"))
    assert credited.required_scores(0, diagnostics=True) == (*both, "cost")
    assert Objective().required_scores(0, diagnostics=True) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_coeff": 10**400}, "kl_coeff must be a finite number"),
        ({"policy_coeff": {"kind": ["linear"]}}, "policy_coeff must be a number or points"),
        ({"policy_coeff": [[0, 10**5000], [2, 0]]}, "policy_coeff: a value must be a finite number"),
        ({"aggregation": ["x"] * 1000}, "aggregation must be one of"),
        (
            {"teacher": {"view": "skills", "weights": "external", "model": 5}, "distill": SAMPLED},
            "teacher.model must be a text, got 5",
        ),
        ({"\x1b[2J": 1}, "no setting '.x1b"),
        ({"shaping": {"name": ["x"] * 1000}}, "shaping: unknown advantage shaper"),
    ],
)
def test_values_that_no_library_can_hold_are_one_short_message(changes, message):
    with pytest.raises(ValueError, match=message) as refused:
        Objective().changed(changes)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("module", ["methods", "objectives.objective", "objectives.gates"])
def test_settings_and_methods_load_no_torch(module: str):
    code = (
        f"import sys, sdar_gym.algorithms.{module}\n"
        "from sdar_gym.algorithms import Objective, METHODS, register_gate, register_shaper\n"
        "METHODS['sdar'].with_overrides({'kl_coeff': 0.0})\n"
        "assert not {'torch', 'ray', 'yaml'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_public_names_exist():
    package = sdar_gym.algorithms
    assert all(hasattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Baseline'"):
        package.Baseline  # noqa: B018


def test_only_a_gate_that_reads_the_size_of_the_advantage_forbids_merging():
    assert Objective().mergeable and Objective(**whole()).mergeable
    assert Objective(**whole(distill=SAMPLED | {"gate": "sigmoid"})).mergeable
    assert not Objective(**whole(distill=SAMPLED | {"gate": "influence"})).mergeable


# What each folder may import besides the standard library, wherever in a module it is imported.
LAYERS = {
    "objectives": {"torch", "algorithms.objectives"},
    "losses": {"torch", "algorithms.objectives", "algorithms.losses"},
    "methods": {"torch", "algorithms.objectives", "algorithms.losses", "algorithms.methods"},
}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down_and_never_to_ray(layer: str):
    folder = Path(sdar_gym.algorithms.__file__).parent / layer
    files = sorted(folder.rglob("*.py"))
    imported = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file.name} imports relatively"
                imported.add(str(node.module))
    assert len(files) > 5 and any(name.startswith(f"sdar_gym.algorithms.{layer}") for name in imported)
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    # How settings are checked and quoted is the same everywhere, and knows nothing of the gym.
    foreign -= {"sdar_gym.settings", "sdar_gym.text", "sdar_gym.validation"}
    layers = {".".join(name.removeprefix("sdar_gym.").split(".")[:2]) for name in foreign}
    assert layers <= LAYERS[layer]
