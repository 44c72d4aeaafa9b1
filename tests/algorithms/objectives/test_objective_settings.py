"""What is refused because it makes no sense, with the reason; and what may be written in a configuration."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sdar_gym.algorithms
from sdar_gym.algorithms import Enter, Gate, Shaping, Squash
from sdar_gym.algorithms.methods.distil import FutureCredit
from sdar_gym.algorithms.objectives.advantage import AdvantageEstimator
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.objectives.teacher import Teacher, View, Weights

NLL = {"coeff": 0.3}
DENSE = {"coeff": 0.3, "divergence": "forward_ce", "support": "full"}
BOUNDED = {"enter": "multiplier", "coeff": 0.5, "limit": 0.2}
BONUS = {"enter": "bonus", "coeff": 0.5}
SKILLS = {"view": "skills"}


def whole(**changes: Any) -> dict[str, Any]:
    """An objective that distils, with changes."""
    return {"teacher": SKILLS, "distill": NLL} | changes


OBJECTIVES = [
    ({"policy_coeff": 0.0}, "nothing to learn from"),
    (whole(policy_coeff=0.0, distill=None, shaping=BOUNDED), "nothing to learn from"),
    ({"policy_coeff": -1.0}, "policy_coeff must never be negative"),
    ({"policy_coeff": "1"}, "policy_coeff must be a number"),
    ({"kl_coeff": -0.1}, "kl_coeff must be at least 0"),
    ({"entropy_coeff": float("nan")}, "entropy_coeff must be finite"),
    ({"aggregation": "mean"}, "aggregation must be one of"),
    ({"clip_low": 0.0}, "clip_low must be greater than 0"),
    ({"dual_clip": 0.5}, "dual_clip must be greater than 1"),
    ({"baseline": None}, "baseline is a group of settings, got None"),
    ({"baseline": {"estimatr": "grpo"}}, r"baseline has no setting 'estimatr'\. Did you mean 'estimator'"),
    ({"teacher": "skills"}, "teacher is a group of settings, got 'skills'"),
    (whole(distill={"divergence": "nll"}), "distill: missing 1 required positional argument: 'coeff'"),
    (whole(distill={"coeff": 0.0}), r"distill\.coeff is 0 at every step; leave distill out"),
    ({"distill": NLL}, "distill needs a teacher"),
    ({"shaping": BOUNDED}, "shaping needs a teacher"),
    ({"teacher": SKILLS}, "Neither distill nor shaping listens to the teacher"),
    (whole(shaping=BOUNDED | {"signal": "contrast"}), r"contrast' and teacher\.blank_control=true go together"),
    (whole(teacher={"view": "feedback", "blank_control": True}), r"contrast' and teacher\.blank_control=true go"),
    (whole(teacher={"view": "sibling"}, distill=NLL | {"groups": "all_fail"}), "never has a teacher"),
    ({"future": {}}, "needs distill with a dense divergence"),
    (whole(future={}), "needs distill with a dense divergence"),
    (whole(distill=DENSE | {"groups": "mixed"}, future={}), "needs the cost of every token"),
    (whole(distill=DENSE | {"positive_only": True}, future={}), "needs the cost of every token"),
    (whole(policy_coeff=0.0, shaping=BOUNDED), "policy_coeff is 0: there is none. Use a bonus"),
    (whole(policy_coeff=0.0, distill=NLL | {"positive_only": True}), "asks for the advantage's sign"),
    (whole(policy_coeff=0.0, distill=NLL | {"gate": "influence", "gate_beta": 5}), "asks for the advantage's sign"),
]

BASELINES = [
    ({"estimator": "ppo"}, r"baseline\.estimator must be one of"),
    ({"statistics": "turn"}, r"baseline\.statistics must be one of"),
    ({"normalize_by_std": "false"}, r"baseline\.normalize_by_std must be true or false"),
    ({"estimator": "gigpo"}, r"needs baseline\.step_weight and baseline\.gamma"),
    ({"estimator": "gigpo", "step_weight": 1.0}, r"needs baseline\.step_weight and baseline\.gamma"),
    ({"estimator": "gigpo", "step_weight": 0.0, "gamma": 0.9}, r"baseline\.step_weight must be greater than 0"),
    ({"estimator": "gigpo", "step_weight": 1.0, "gamma": 1.1}, r"baseline\.gamma must be at most 1"),
    ({"estimator": "gigpo", "step_weight": 1.0, "gamma": -0.1}, r"baseline\.gamma must be at least 0"),
    ({"step_weight": 1.0}, r"baseline\.step_weight=1\.0 has no effect"),
    ({"gamma": 0.9}, r"baseline\.gamma=0\.9 has no effect"),
    ({"estimator": "rloo"}, "does not divide by the deviation"),
    ({"estimator": "rloo", "normalize_by_std": False, "statistics": "row"}, "compares trajectories"),
]

TEACHERS = [
    ({"view": "skill"}, r"teacher\.view must be one of"),
    ({"weights": "old"}, r"teacher\.weights must be one of"),
    ({"view": "none"}, "makes the teacher the student"),
    ({"weights": "ema"}, r"needs teacher\.rate"),
    ({"weights": "ema", "rate": 0.0}, r"teacher\.rate must be greater than 0"),
    ({"weights": "ema", "rate": 1.0}, r"write teacher\.weights='live'"),
    ({"rate": 0.1}, r"teacher\.rate=0\.1 has no effect"),
    ({"weights": "stale"}, r"needs teacher\.every"),
    ({"weights": "stale", "every": 0}, r"teacher\.every must be at least 1"),
    ({"weights": "frozen", "every": 5}, r"teacher\.every=5 has no effect"),
    ({"weights": "external"}, r"needs teacher\.model"),
    ({"model": "some/model"}, r"teacher\.model='some/model' has no effect"),
    ({"blank_control": True}, "has no blank form"),
    ({"blank_control": "false"}, r"teacher\.blank_control must be true or false"),
]

SHAPINGS = [
    ({"enter": "loss", "coeff": 0.5}, r"shaping\.enter must be one of"),
    (BONUS | {"signal": "entropy"}, r"shaping\.signal must be one of"),
    (BONUS | {"aggregate": "paragraph"}, r"shaping\.aggregate must be one of"),
    (BONUS | {"squash": "relu"}, r"shaping\.squash must be one of"),
    (BONUS | {"normalise": "batch"}, r"shaping\.normalise must be one of"),
    (BONUS | {"coeff": 0.0}, "must not be negative, nor 0 at every step"),
    (BONUS | {"coeff": {"kind": "linear", "start": 1, "end": -1, "steps": 9}}, "must not be negative, nor 0"),
    (BONUS | {"scale": 0.0}, r"shaping\.scale must be greater than 0"),
    (BONUS | {"limit": 0.0}, r"shaping\.limit must be greater than 0"),
    (BONUS | {"aggregate": "belief"}, r"needs shaping\.decay in \(0, 1\]"),
    (BONUS | {"aggregate": "belief", "decay": 1.5}, r"needs shaping\.decay in \(0, 1\]"),
    (BONUS | {"decay": 0.9}, r"shaping\.decay=0\.9 has no effect"),
    (BONUS | {"uncertain_turns": 1.0}, "is a share between 0 and 1"),
    (BONUS | {"uncertain_turns": 0.0}, "is a share between 0 and 1"),
    (BONUS | {"normalise": "turn_z", "aggregate": "turn_sum"}, "compares the tokens of a turn"),
    (BONUS | {"normalise": "trajectory_z"}, "compares turns"),
    (BONUS | {"normalise": "trajectory_z", "aggregate": "window", "window": 4}, "compares turns"),
    (BONUS | {"aggregate": "window"}, r"needs shaping\.window"),
    (BONUS | {"aggregate": "window", "window": 1}, r"shaping\.window must be at least 2"),
    (BONUS | {"window": 4}, "only shaping.aggregate='window' looks back"),
    (BONUS | {"turn_budget": True}, "moves weight between the tokens of a turn"),
    (BOUNDED | {"turn_budget": True, "aggregate": "turn_mean"}, "moves weight between the tokens of a turn"),
    (BOUNDED | {"turn_budget": 1}, r"shaping\.turn_budget must be true or false"),
    (BONUS | {"group_trust": "yes"}, r"shaping\.group_trust must be true or false"),
    ({"enter": "multiplier", "coeff": 0.5}, "without a bound it flips signs"),
    ({"enter": "multiplier", "coeff": 0.5, "squash": "expm1"}, "without a bound it flips signs"),
    ({"enter": "multiplier", "coeff": 0.5, "squash": "tanh", "normalise": "turn_z"}, "without a bound"),
    ({"enter": "multiplier", "coeff": 0.5, "limit": 2.0}, "could reach 0 and flip the advantage's sign"),
    ({"enter": "multiplier", "coeff": 0.5, "squash": "tanh", "scale": 2.0}, "could reach 0 and flip"),
    ({"enter": "multiplier", "coeff": Schedule.linear(2.0, 0.1, 9), "limit": 0.6}, "could reach 0 and flip"),
]

DISTILLS = [
    ({"coeff": "0.01"}, r"distill\.coeff must be a number"),
    ({"coeff": {"kind": "linear", "start": 1, "end": -1, "steps": 5}}, r"distill\.coeff must never be negative"),
    (NLL | {"divergence": "kl"}, r"distill\.divergence must be one of"),
    (NLL | {"support": "top"}, r"distill\.support must be one of"),
    (NLL | {"gate": "sigmoidal"}, r"distill\.gate must be one of"),
    (NLL | {"groups": "failed"}, r"distill\.groups must be one of"),
    (NLL | {"positive_only": 1}, r"distill\.positive_only must be true or false"),
    (NLL | {"support": "full"}, r"'nll' goes with distill\.support='sampled', got 'full'"),
    (NLL | {"divergence": "rkl"}, r"'rkl' goes with distill\.support='topk' or 'full', got 'sampled'"),
    (DENSE | {"support": "topk"}, r"needs distill\.k"),
    (DENSE | {"support": "topk", "k": 1}, r"distill\.k must be at least 2"),
    (DENSE | {"support": "topk", "k": 5, "chooser": "both"}, r"distill\.chooser must be one of"),
    (DENSE | {"support": "topk", "k": 5, "rest": "no"}, r"distill\.rest must be true or false"),
    (DENSE | {"k": 5}, r"distill\.k=5 has no effect"),
    (DENSE | {"chooser": "teacher"}, r"distill\.topk_source='teacher' has no effect"),
    (DENSE | {"rest": False}, r"distill\.tail_bucket=False has no effect"),
    (DENSE | {"divergence": "jsd"}, r"needs distill\.alpha in \[0, 1\]"),
    (DENSE | {"divergence": "jsd", "alpha": 1.5}, r"needs distill\.alpha in \[0, 1\]"),
    (NLL | {"alpha": 0.5}, r"distill\.alpha=0\.5 has no effect"),
    (DENSE | {"divergence": "rkl", "teacher_floor": 0.0}, "is a log-probability below 0"),
    (DENSE | {"teacher_floor": -12.0}, r"distill\.teacher_floor=-12\.0 has no effect"),
    (NLL | {"gate": "sigmoid"}, r"needs distill\.gate_beta"),
    (NLL | {"gate": "sigmoid", "gate_beta": 0.0}, r"write distill\.gate='constant'"),
    (NLL | {"gate": "sigmoid", "gate_beta": -5.0}, r"distill\.gate_beta must be at least 0"),
    (NLL | {"gate": "constant", "gate_beta": 5.0}, r"distill\.gate_beta=5\.0 has no effect"),
    (DENSE | {"support": "topk", "k": 5, "gate": "sigmoid", "gate_beta": 5}, "a top-k teacher may not have"),
    (NLL | {"ratio_cap": 0.5}, r"distill\.ratio_cap must be at least 1"),
    (NLL | {"divergence": "k3_is", "ratio_cap": 2.0}, "has its own importance ratio"),
]

FUTURES = [
    ({"gamma": 0.0}, r"future\.gamma must be in \(0, 1\]"),
    ({"gamma": 1.01}, r"future\.gamma must be in \(0, 1\]"),
    ({"baseline": "mean"}, r"future\.baseline must be one of"),
    ({"cost": "rkl"}, r"future\.cost must be one of"),
]

REFUSALS = [
    pytest.param(kind, settings, message, id=f"{kind.__name__}-{message[:40]}-{number}")
    for kind, rows in (
        (Objective, OBJECTIVES),
        (AdvantageEstimator, BASELINES),
        (Teacher, TEACHERS),
        (Shaping, SHAPINGS),
        (Distillation, DISTILLS),
        (FutureCredit, FUTURES),
    )
    for number, (settings, message) in enumerate(rows)
]


@pytest.mark.parametrize(("kind", "settings", "message"), REFUSALS)
def test_senseless_settings_are_refused_with_the_reason(kind, settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_plain_configuration_values_are_accepted():
    written = Objective(
        teacher={"view": "sibling", "weights": "ema", "rate": 0.05},  # type: ignore[arg-type]
        distill={"coeff": 0.3, "gate": "sigmoid", "gate_beta": 5},  # type: ignore[arg-type]
        shaping={"enter": "multiplier", "coeff": 0.5, "squash": "tanh"},  # type: ignore[arg-type]
        kl_coeff=1,
    )
    built = Objective(
        teacher=Teacher(View.SIBLING, Weights.EMA, rate=0.05),
        distill=Distillation(Schedule.constant(0.3), gate=Gate.SIGMOID, gate_beta=5.0),
        shaping=Shaping(Enter.MULTIPLIER, Schedule.constant(0.5), squash=Squash.TANH),
        kl_coeff=1.0,
    )
    assert written == built
    assert pickle.loads(pickle.dumps(written)) == built


def test_topk_has_defaults_and_only_topk():
    chosen = Distillation(**(DENSE | {"support": "topk", "k": 5}))
    assert (chosen.chooser, chosen.rest) == ("teacher", True)
    full = Distillation(**DENSE)
    assert (full.k, full.chooser, full.rest) == (None, None, None)


def test_what_a_step_needs():
    def needs(objective: Objective, step: int = 0) -> dict[str, bool]:
        return {
            name: getattr(objective, f"{name}_at")(step) for name in ("distils", "shapes", "dense", "future", "scores")
        }

    nothing = dict.fromkeys(("distils", "shapes", "dense", "future", "scores"), False)
    assert needs(Objective()) == nothing
    assert needs(Objective(**whole())) == nothing | {"distils": True, "scores": True}
    assert needs(Objective(**whole(distill=DENSE))) == nothing | {"distils": True, "dense": True}
    credited = nothing | {"distils": True, "dense": True, "future": True, "scores": True}
    assert needs(Objective(**whole(distill=DENSE, future={}))) == credited
    shaped = Objective(teacher=Teacher(), shaping=Shaping(**(BOUNDED | {"coeff": Schedule.phases(0.5, hold=3)})))
    assert needs(shaped, 2) == nothing | {"shapes": True, "scores": True}
    assert shaped.needs_teacher_at(2) and not shaped.needs_teacher_at(3) and shaped.needs_teacher
    assert needs(shaped, 3) == nothing
    faded = whole(distill=DENSE | {"coeff": Schedule.linear(1, 0, 3)}, future={})
    assert needs(Objective(**faded), 3) == nothing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_coeff": 10**400}, "kl_coeff must be finite"),
        ({"policy_coeff": {"kind": ["linear"]}}, "policy_coeff: unknown schedule kind"),
        ({"policy_coeff": {"kind": "linear", "start": 10**5000, "end": 0, "steps": 2}}, "start must be finite"),
        ({"aggregation": ["x"] * 1000}, "aggregation must be one of"),
        ({"teacher": {"view": "skills", "weights": "external", "model": 5}, "distill": NLL}, "needs teacher.model"),
        ({"\x1b[2J": 1}, "no setting '.x1b"),
    ],
)
def test_values_that_no_library_can_hold_are_one_short_message(changes, message):
    with pytest.raises(ValueError, match=message) as refused:
        Objective().changed(changes)
    assert len(str(refused.value)) < 600


def test_settings_load_no_torch_and_keep_their_public_names():
    code = (
        "import sys, sdar_gym.algorithms.objective, sdar_gym.algorithms.methods\n"
        "assert not {'torch', 'ray', 'yaml'} & set(sys.modules)\n"
        "import sdar_gym.algorithms as package\n"
        "from sdar_gym.algorithms import advantages, baselines, divergences, future, gates, losses\n"
        "homes = [advantages.Statistics, baselines.Baseline, baselines.Estimator, divergences.Divergence, gates.Gate,\n"
        "         future.Cost, future.FutureBaseline, future.FutureCredit, losses.Aggregation]\n"
        "assert all(getattr(package, kind.__name__) is kind for kind in homes) and losses.check_clipping\n"
        "assert all(hasattr(package, name) for name in package.__all__)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_only_a_gate_that_reads_the_size_of_the_advantage_forbids_merging():
    assert Objective().mergeable and Objective(**whole()).mergeable
    assert not Objective(**whole(distill=NLL | {"gate": "influence", "gate_beta": 5.0})).mergeable


def test_this_package_knows_only_tensors():
    folder = Path(sdar_gym.algorithms.__file__).parent
    allowed = sys.stdlib_module_names | {"torch"}
    imported = set()
    for file in (*folder.glob("*.py"), *(folder / "methods").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file.name} imports relatively"
                imported.add(str(node.module))
    own = {name for name in imported if name.startswith("sdar_gym.algorithms.")}
    assert "sdar_gym.algorithms.methods.common" in own  # the scan sees something
    assert not any(name.startswith("sdar_gym.algorithms.sdar") for name in own)
    # How a message quotes a value is the same everywhere, and knows nothing of the gym.
    assert {name.split(".")[0] for name in imported - own - {"sdar_gym.text"}} <= allowed
