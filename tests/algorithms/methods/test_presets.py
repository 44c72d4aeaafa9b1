"""Every row of the table: its published numbers, where it comes from, and that it can be changed and sent around."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from sdar_gym.algorithms.methods import CHAPTERS, METHODS, get_method
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.sdar import SDARConfig
from sdar_gym.configs import load_config

# Clip low and high, dual clip, KL, entropy.
RELEASED = (0.2, 0.2, 3.0, 0.01, 0.001)
PLAIN = (0.2, 0.2, 3.0, 0.0, 0.0)
UNBOUNDED = (0.2, 0.2, None, 0.0, 0.0)
# Estimator, statistics, divided by the deviation, ω, γ.
ROWS = ("grpo", "row", True, None, None)
TRAJECTORIES = ("grpo", "trajectory", True, None, None)
# View, weights, and the settings of the weights.
SKILLS, SKILLS_FROZEN = ("skills", "live"), ("skills", "frozen")
SIBLING, SOLUTION = ("sibling", "live"), ("solution", "live")
GATED = {"coeff": 0.01, "divergence": "nll", "gate": "sigmoid", "gate_beta": 5.0}
CE = {"coeff": 0.4, "divergence": "forward_ce", "support": "full"}


# name: base of the loss, baseline, κ, teacher, distillation, shaping, future credit
PUBLISHED: dict[str, tuple[Any, ...]] = {
    "sdar": (RELEASED, ROWS, 1.0, SKILLS, GATED, None, None),
    "grpo": (RELEASED, ROWS, 1.0, None, None, None, None),
    "skill_grpo": (RELEASED, ROWS, 1.0, None, None, None, None),
    "opsd_sdar_repo": (RELEASED, ROWS, 0.0, SKILLS, GATED, None, None),
    "grpo_opsd_sdar_repo": (
        RELEASED,
        ROWS,
        1.0,
        SKILLS,
        {"coeff": 0.01, "divergence": "nll", "gate": "constant"},
        None,
        None,
    ),
    "grpo_opsd": (RELEASED, ROWS, 1.0, SKILLS, {"coeff": 0.01, "divergence": "logratio_pg"}, None, None),
    "skill_sd": (RELEASED, ROWS, 1.0, SKILLS, {"coeff": 0.001, "divergence": "k3_is"}, None, None),
    "rlsd": (
        RELEASED,
        ROWS,
        1.0,
        SKILLS,
        None,
        {"enter": "multiplier", "coeff": Schedule.linear(0.5, 0.0, 100), "squash": "expm1", "limit": 0.2},
        None,
    ),
    "gigpo": (RELEASED, ("gigpo", "row", False, 1.0, 0.95), 1.0, None, None, None, None),
    "dr_grpo": (PLAIN, ("grpo", "trajectory", False, None, None), 1.0, None, None, None, None),
    "rloo": (UNBOUNDED, ("rloo", "trajectory", False, None, None), 1.0, None, None, None, None),
    "opsd": (
        PLAIN,
        ROWS,
        0.0,
        ("solution", "frozen"),
        {"coeff": 1.0, "divergence": "jsd", "support": "full", "alpha": 0.5},
        None,
        None,
    ),
    "sdpo": (
        PLAIN,
        ROWS,
        0.0,
        ("sibling", "ema", 0.05),
        {
            "coeff": 1.0,
            "divergence": "jsd",
            "support": "topk",
            "k": 100,
            "chooser": "student",
            "rest": True,
            "alpha": 0.5,
            "ratio_cap": 2.0,
        },
        None,
        None,
    ),
    "distil": (PLAIN, ROWS, 0.0, SIBLING, CE | {"coeff": 1.0}, None, (1.0, "none", "ce")),
    "sdpg": (
        (0.2, 0.28, None, 0.001, 0.0),
        TRAJECTORIES,
        1.0,
        SOLUTION,
        {"coeff": 0.001, "divergence": "rkl", "support": "full"},
        None,
        None,
    ),
    "agent_opsd": (
        (0.2, 0.24, 3.0, 0.01, 0.001),
        ROWS,
        1.0,
        SKILLS,
        None,
        {
            "enter": "multiplier",
            "coeff": 0.5,
            "aggregate": "belief",
            "decay": 0.95,
            "normalise": "trajectory_z",
            "scale": 0.2,
            "limit": 0.2,
        },
        None,
    ),
    "step_opsd": (
        RELEASED,
        ROWS,
        1.0,
        ("sibling", "stale", 10),
        None,
        {
            "enter": "multiplier",
            "coeff": Schedule.linear(0.2, 0.0, 50),
            "squash": "tanh",
            "scale": 0.2,
            "turn_budget": True,
        },
        None,
    ),
    "grsd": (
        RELEASED,
        ROWS,
        1.0,
        SKILLS,
        None,
        {
            "enter": "multiplier",
            "coeff": 0.5,
            "aggregate": "turn_mean",
            "squash": "expm1",
            "normalise": "group_mean_abs",
            "limit": 0.2,
        },
        None,
    ),
    "ocsd": (
        RELEASED,
        ROWS,
        1.0,
        ("feedback", "live", True),
        None,
        {"enter": "multiplier", "coeff": 0.5, "signal": "contrast", "squash": "tanh", "uncertain_turns": 0.2},
        None,
    ),
    "opid": (RELEASED, ROWS, 1.0, ("hindsight", "live"), None, {"enter": "bonus", "coeff": 0.001}, None),
    "adrs": (
        RELEASED,
        ROWS,
        1.0,
        SKILLS,
        None,
        {
            "enter": "bonus",
            "coeff": Schedule.phases(1.0, delay=20, hold=50),
            "signal": "teacher_logp",
            "normalise": "turn_z",
            "scale": 0.02,
            "limit": 0.2,
            "group_trust": True,
        },
        None,
    ),
    "icsd": (RELEASED, ROWS, 1.0, SKILLS, GATED | {"gate": "influence"}, None, None),
    "pcsd": (RELEASED, ROWS, 1.0, SKILLS, GATED | {"gate": "persistent"}, None, None),
    "allfail_ce": (UNBOUNDED, ROWS, 1.0, SKILLS_FROZEN, CE | {"groups": "all_fail"}, None, None),
    "frozen_ce": (UNBOUNDED, ROWS, 1.0, SKILLS_FROZEN, CE, None, None),
    "frozen_ce_decay": (
        UNBOUNDED,
        ROWS,
        1.0,
        SKILLS_FROZEN,
        CE | {"coeff": Schedule.linear(0.4, 0.0, 150)},
        None,
        None,
    ),
    "frozen_rkl": (
        UNBOUNDED,
        ROWS,
        1.0,
        SKILLS_FROZEN,
        {"coeff": 0.3, "divergence": "rkl", "support": "full", "teacher_floor": -12.0},
        None,
        None,
    ),
}


def spelled_out(name: str) -> Objective:
    loss, base, policy, teacher, distill, shaping, future = PUBLISHED[name]
    settings: dict[str, Any] = dict(
        zip(("clip_low", "clip_high", "dual_clip", "kl_coeff", "entropy_coeff"), loss, strict=True)
    )
    settings["baseline"] = dict(
        zip(("estimator", "statistics", "normalize_by_std", "step_weight", "gamma"), base, strict=True)
    )
    if teacher:
        extra = {"ema": "rate", "stale": "every", "live": "blank_control"}
        settings["teacher"] = {"view": teacher[0], "weights": teacher[1]}
        if len(teacher) > 2:
            settings["teacher"][extra[teacher[1]]] = teacher[2]
    if future:
        settings["future"] = dict(zip(("gamma", "baseline", "cost"), future, strict=True))
    return Objective(policy_coeff=policy, distill=distill, shaping=shaping, **settings)


def test_the_table_is_complete():
    assert set(METHODS) == set(PUBLISHED)
    rows = [row for chapter in CHAPTERS.values() for row in chapter]
    assert len(rows) == len(METHODS)  # no name twice
    assert all(METHODS[row.name] is row for row in rows)


@pytest.mark.parametrize("name", METHODS)
def test_published_settings(name: str):
    method = get_method(name)
    assert method.objective == spelled_out(name)
    assert method.needs_teacher == (PUBLISHED[name][3] is not None)
    assert method.acts_with_skills == (name == "skill_grpo")


def test_no_two_rows_are_the_same():
    objectives = {name: repr(method.objective) for name, method in METHODS.items() if name != "skill_grpo"}
    assert len(set(objectives.values())) == len(objectives)
    assert METHODS["skill_grpo"].objective == METHODS["grpo"].objective  # it differs in what the actor reads


@pytest.mark.parametrize("name", METHODS)
def test_every_row_says_where_it_comes_from_and_travels(name: str):
    method = METHODS[name]
    assert "arXiv" in method.source or method.source.startswith("ours")
    assert method.summary.endswith(".") and method.summary.count(".") == 1
    assert method.deviations and all(deviation.endswith(".") for deviation in method.deviations)
    assert pickle.loads(pickle.dumps(method)) == method


def test_overrides_replace_settings_and_leave_the_table_alone():
    before = get_method("sdar")
    changed = before.with_overrides(
        kl_coeff=0.001,
        distill={"coeff": {"kind": "linear", "start": 0.01, "end": 0.0, "steps": 50}},
        baseline={"statistics": "trajectory"},
    )
    assert (changed.name, changed.source) == (before.name, before.source)
    assert changed.objective.kl_coeff == 0.001
    assert changed.objective.distill is not None and before.objective.distill is not None
    assert changed.objective.distill.coeff.at(25) == pytest.approx(0.005)
    assert changed.objective.distill.gate_beta == 5.0  # what a group's mapping does not name stays
    assert changed.objective.baseline.statistics == "trajectory"
    assert changed.objective.baseline.normalize_by_std
    assert get_method("sdar") == before != changed
    assert before.with_overrides() is before


def test_overrides_can_change_the_gate():
    ungated = get_method("sdar").with_overrides(distill={"gate": "constant", "gate_beta": None})
    assert ungated.objective == get_method("grpo_opsd_sdar_repo").objective


def test_overrides_can_add_and_remove_groups():
    added = get_method("grpo").with_overrides(
        teacher={"view": "skills"}, distill={"coeff": 0.01, "divergence": "nll", "gate": "sigmoid", "gate_beta": 5.0}
    )
    assert added.objective == get_method("sdar").objective
    removed = get_method("sdar").with_overrides(teacher=None, distill=None)
    assert removed.objective == get_method("grpo").objective
    both = get_method("rlsd").with_overrides(distill={"coeff": 0.01, "divergence": "nll"})
    # A distillation that never acts takes its teacher along, but not one that shaping listens to.
    assert both.with_overrides(distill={"coeff": 0.0}).objective == get_method("rlsd").objective
    off = get_method("frozen_ce").with_overrides(distill={"coeff": 0.0}, future={})
    assert (off.objective.teacher, off.objective.distill, off.objective.future) == (None, None, None)


def test_unknown_names_are_refused_with_the_closest_one():
    with pytest.raises(ValueError, match=r"Unknown method 'sdra'\. Did you mean 'sdar'\?"):
        get_method("sdra")
    with pytest.raises(ValueError, match=r"Unknown method 'zzz'\. Known names"):
        get_method("zzz")
    with pytest.raises(ValueError, match=r"'grpo': The objective has no setting 'kl_coef'\. Did you mean 'kl_coeff'\?"):
        get_method("grpo").with_overrides(kl_coef=0.1)
    with pytest.raises(ValueError, match=r"'sdar': distill has no setting 'beta'"):
        get_method("sdar").with_overrides(distill={"beta": 0.1})


def test_senseless_overrides_are_refused():
    with pytest.raises(ValueError, match="nothing to learn from"):
        get_method("opsd_sdar_repo").with_overrides(distill={"coeff": 0.0})
    with pytest.raises(ValueError, match=r"gate_beta=5\.0 has no effect: distill\.gate='constant'"):
        get_method("sdar").with_overrides(distill={"gate": "constant"})
    with pytest.raises(ValueError, match="Neither distill nor shaping listens"):
        get_method("sdar").with_overrides(distill=None)
    with pytest.raises(TypeError):
        METHODS["mine"] = get_method("sdar")  # type: ignore[index]


def test_a_setting_of_a_group_that_a_method_has_not_is_no_new_group():
    with pytest.raises(ValueError, match=r"Method 'grpo': There is no distill to change.*say distill\.divergence too"):
        get_method("grpo").with_overrides(distill={"coeff": 0.03})
    with pytest.raises(ValueError, match="no distill to change"):
        get_method("rlsd").with_overrides(distill={"coeff": 0.03})
    with pytest.raises(ValueError, match=r"say teacher\.view too"):
        get_method("grpo").with_overrides(teacher={"weights": "frozen"})
    added = get_method("rlsd").with_overrides(distill={"coeff": 0.03, "divergence": "logratio_pg"}).objective
    assert added.distill is not None and added.shaping is not None


def test_the_quick_start_trains_plain_grpo_where_grpo_is_asked_for():
    for name in METHODS:
        objective = SDARConfig.from_run(load_config("quickstart", [f"method={name}"])).get_method().objective
        plain = get_method(name).with_overrides(kl_coeff=0.0, entropy_coeff=0.0).objective
        if name == "sdar":
            plain = plain.changed({"distill": {"coeff": 1.0}})
        assert objective == plain
