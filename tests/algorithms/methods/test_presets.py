"""Every method: its published numbers, where they come from, and that it can be changed and pickled."""

from __future__ import annotations

import pickle
import re
from functools import reduce
from typing import Any

import pytest

from sdar_gym.algorithms.methods import CHAPTERS, METHODS, get_method
from sdar_gym.algorithms.methods.sdar import SigmoidGate
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.algorithms.sdar import SDARConfig
from sdar_gym.configs import load_config

RELEASED = "github.com/ZJU-REAL/SDAR at 8b85c23"
OURS = "ours, a study with a policy of 150,000 parameters"
# Clipping, KL and entropy bonus of the released SDAR runs; the KL is also in the table of arXiv 2605.15155.
BASE = {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0, "kl_coeff": 0.01, "entropy_coeff": 0.001}
ON_BASE = ("grpo", "skill_grpo", "sdar", "opsd_sdar_repo", "grpo_opsd_sdar_repo", "grpo_opsd", "skill_sd", "rlsd")

# Numbers that were published, with where; a method's other settings are on docs/methods.md, which a test compares.
PUBLISHED: list[tuple[str, str, dict[str, Any]]] = [
    *((name, RELEASED, BASE) for name in ON_BASE),
    ("sdar", "arXiv 2605.15155", {"distill.coeff": 0.01, "distill.gate.beta": 5.0}),
    ("opsd_sdar_repo", RELEASED, {"policy_coeff": 0.0, "distill.coeff": 0.01, "distill.gate.beta": 5.0}),
    # Written there as a sigmoid with β = 0.
    ("grpo_opsd_sdar_repo", RELEASED, {"distill.coeff": 0.01, "distill.gate.value": 0.5}),
    ("grpo_opsd", RELEASED, {"distill.coeff": 0.01}),
    ("skill_sd", RELEASED, {"distill.coeff": 0.001}),
    ("rlsd", RELEASED, {"shaping.coeff": [[0, 0.5], [100, 0.0]], "shaping.limit": 0.2}),
    ("gigpo", "arXiv 2505.10978", {"advantage.step_weight": 1.0, "advantage.gamma": 0.95}),
    ("gigpo", "github.com/langfengQ/verl-agent, core_gigpo.py", {"advantage.normalize_by_std": False}),
    ("dr_grpo", "arXiv 2503.20783", {"advantage.normalize_by_std": False, "kl_coeff": 0.0, "entropy_coeff": 0.0}),
    ("rloo", "arXiv 2402.14740", {"advantage.normalize_by_std": False, "dual_clip": None}),
    ("opsd", "arXiv 2601.18734", {"policy_coeff": 0.0, "distill.coeff": 1.0, "distill.alpha": 0.5}),
    (
        "sdpo",
        "arXiv 2601.20802; github.com/lasgroup/SDPO",
        {
            "policy_coeff": 0.0,
            "teacher.rate": 0.05,
            "distill.coeff": 1.0,
            "distill.k": 100,
            "distill.alpha": 0.5,
            "distill.ratio_cap": 2.0,
        },
    ),
    ("distil", "arXiv 2606.05152", {"policy_coeff": 0.0, "distill.coeff": 1.0, "shaping.gamma": 1.0}),
    ("sdpg", "arXiv 2606.04036; github.com/lauyikfung/SDPG", {"distill.coeff": 0.001, "kl_coeff": 0.001}),
    ("sdpg", "arXiv 2503.14476", {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": None}),
    (
        "agent_opsd",
        "arXiv 2608.05987; github.com/ZethWang/AgentOPSD, opsd_utils.py",
        {
            "clip_high": 0.24,
            "shaping.coeff": 0.5,
            "shaping.decay": 0.95,
            "shaping.scale": 0.2,
            "shaping.limit": 0.2,
        },
    ),
    ("grsd", "arXiv 2607.28076; grsd_utils.py", {"shaping.coeff": 0.5, "shaping.limit": 0.2}),
    ("opid", "arXiv 2606.26790", {"shaping.coeff": 0.001}),
    (
        "adrs",
        "arXiv 2608.03223; github.com/gitrxh/ADRS-arxiv, adrs_utils.py",
        {
            "shaping.coeff": [[19, 0.0], [20, 1.0], [69, 1.0], [70, 0.0]],
            "shaping.scale": 0.02,
            "shaping.limit": 0.2,
        },
    ),
    (
        "step_opsd",
        "a reading note on arXiv 2605.27140",
        {"teacher.every": 10, "shaping.coeff": [[0, 0.2], [50, 0.0]], "shaping.scale": 0.2},
    ),
    ("ocsd", "a reading note on arXiv 2608.04788", {"shaping.uncertain_turns": 0.2}),
    ("icsd", "a reading note on arXiv 2608.14945", {"distill.coeff": 0.01, "distill.gate.beta": 5.0}),
    ("pcsd", "a reading note on arXiv 2608.01837", {"distill.coeff": 0.01, "distill.gate.beta": 5.0}),
    ("allfail_ce", OURS, {"distill.coeff": 0.4}),
    ("frozen_ce", OURS, {"distill.coeff": 0.4}),
    ("frozen_ce_decay", OURS, {"distill.coeff": [[0, 0.4], [150, 0.0]]}),
    ("frozen_rkl", OURS, {"distill.coeff": 0.3, "distill.teacher_floor": -12.0}),
]


@pytest.mark.parametrize(("name", "source", "numbers"), PUBLISHED)
def test_published_numbers(name: str, source: str, numbers: dict[str, Any]):
    objective = get_method(name).objective
    found = {path: reduce(getattr, path.split("."), objective) for path in numbers}
    plain = {path: value.plain() if isinstance(value, Schedule) else value for path, value in found.items()}
    assert plain == numbers, source


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_published_number_that_its_own_source_supports(name: str):
    own = [source for method, source, _ in PUBLISHED if method == name]
    papers = {paper for source in own for paper in re.findall(r"arXiv [\d.]+|github\.com/[\w-]+/[\w-]+|^ours", source)}
    stated = " ".join((METHODS[name].source, *METHODS[name].deviations))
    assert papers and all(paper in stated for paper in papers)


def test_methods_on_the_released_base_share_its_numbers():
    for name, method in METHODS.items():
        if name in ON_BASE or any("so that presets compare" in text for text in method.deviations):
            changed = {"clip_high": 0.24} if name == "agent_opsd" else {}
            assert {key: getattr(method.objective, key) for key in BASE} == BASE | changed


def test_the_table_is_complete():
    assert set(METHODS) == {name for name, _, _ in PUBLISHED}
    rows = [row for chapter in CHAPTERS.values() for row in chapter]
    assert len(rows) == len(METHODS)  # no name twice
    assert all(METHODS[row.name] is row for row in rows)


def test_experimental_methods_stand_apart():
    experimental = {name for name, method in METHODS.items() if method.experimental}
    assert experimental == {"step_opsd", "ocsd", "icsd", "pcsd"}
    for title, methods in CHAPTERS.items():
        assert {method.experimental for method in methods} == {title.startswith("Experimental")}
    for name in experimental:
        assert any("reading note" in text for text in METHODS[name].deviations)


def test_only_skill_grpo_acts_with_skills_and_methods_without_a_teacher_need_none():
    assert [name for name, method in METHODS.items() if method.acts_with_skills] == ["skill_grpo"]
    assert {name for name, method in METHODS.items() if not method.needs_teacher} == {
        "grpo",
        "skill_grpo",
        "gigpo",
        "dr_grpo",
        "rloo",
    }


def test_no_two_rows_are_the_same():
    objectives = {name: repr(method.objective) for name, method in METHODS.items() if name != "skill_grpo"}
    assert len(set(objectives.values())) == len(objectives)
    assert METHODS["skill_grpo"].objective == METHODS["grpo"].objective  # it differs in what the actor reads


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_source_and_deviations_and_is_pickled(name: str):
    method = METHODS[name]
    assert "arXiv" in method.source or method.source.startswith("ours")
    assert method.summary.endswith(".") and method.summary.count(".") == 1
    assert method.deviations and all(deviation.endswith(".") for deviation in method.deviations)
    assert pickle.loads(pickle.dumps(method)) == method


def test_overrides_replace_settings_and_leave_the_table_alone():
    before = get_method("sdar")
    changed = before.with_overrides(
        {
            "kl_coeff": 0.001,
            "distill": {"coeff": [[0, 0.01], [50, 0.0]]},
            "advantage": {"statistics": "trajectory"},
        }
    )
    assert (changed.name, changed.source) == (before.name, before.source)
    assert changed.objective.kl_coeff == 0.001
    assert changed.objective.distill is not None and before.objective.distill is not None
    assert changed.objective.distill.coeff.at(25) == pytest.approx(0.005)
    assert changed.objective.distill.gate == SigmoidGate(5.0)  # what a group's mapping does not name stays
    assert changed.objective.advantage.statistics == "trajectory"
    assert changed.objective.advantage.normalize_by_std
    assert get_method("sdar") == before != changed
    assert before.with_overrides({}) is before


def test_overrides_can_change_the_gate():
    ungated = get_method("sdar").with_overrides({"distill": {"gate": "constant"}})
    assert ungated.objective == get_method("grpo_opsd_sdar_repo").objective


def test_overrides_can_add_and_remove_groups():
    distill = {"coeff": 0.01, "divergence": "log_ratio", "gate": {"name": "sigmoid", "beta": 5.0}}
    added = get_method("grpo").with_overrides({"teacher": {"view": "skills"}, "distill": distill})
    assert added.objective == get_method("sdar").objective
    removed = get_method("sdar").with_overrides({"teacher": None, "distill": None})
    assert removed.objective == get_method("grpo").objective
    both = get_method("rlsd").with_overrides({"distill": {"coeff": 0.01, "divergence": "log_ratio"}})
    # A distillation with coefficient 0 is dropped with its teacher, unless shaping uses the teacher.
    assert both.with_overrides({"distill": {"coeff": 0.0}}).objective == get_method("rlsd").objective
    off = get_method("frozen_ce").with_overrides({"distill": {"coeff": 0.0}, "shaping": "future_credit"})
    assert (off.objective.teacher, off.objective.distill, off.objective.shaping) == (None, None, None)


def test_unknown_names_are_refused_with_the_closest_one():
    with pytest.raises(ValueError, match=r"Unknown method 'sdra'\. Did you mean 'sdar'\?"):
        get_method("sdra")
    with pytest.raises(ValueError, match=r"Unknown method 'zzz'\. Known names"):
        get_method("zzz")
    with pytest.raises(ValueError, match=r"'grpo': The objective has no setting 'kl_coef'\. Did you mean 'kl_coeff'\?"):
        get_method("grpo").with_overrides({"kl_coef": 0.1})
    with pytest.raises(ValueError, match=r"'sdar': distill has no setting 'beta'"):
        get_method("sdar").with_overrides({"distill": {"beta": 0.1}})


def test_senseless_overrides_are_refused():
    with pytest.raises(ValueError, match="nothing to learn from"):
        get_method("opsd_sdar_repo").with_overrides({"distill": {"coeff": 0.0}})
    with pytest.raises(ValueError, match=r"distill\.gate has no setting 'beta'"):
        get_method("sdar").with_overrides({"distill": {"gate": {"name": "constant", "beta": 5.0}}})
    with pytest.raises(ValueError, match="Neither distill nor shaping uses the teacher"):
        get_method("sdar").with_overrides({"distill": None})
    with pytest.raises(TypeError):
        METHODS["mine"] = get_method("sdar")  # type: ignore[index]


def test_a_setting_of_a_group_that_a_method_has_not_is_no_new_group():
    with pytest.raises(ValueError, match=r"Method 'grpo': There is no distill to change.*set distill\.divergence too"):
        get_method("grpo").with_overrides({"distill": {"coeff": 0.03}})
    with pytest.raises(ValueError, match="no distill to change"):
        get_method("rlsd").with_overrides({"distill": {"coeff": 0.03}})
    with pytest.raises(ValueError, match=r"set teacher\.view too"):
        get_method("grpo").with_overrides({"teacher": {"weights": "frozen"}})
    added = get_method("rlsd").with_overrides({"distill": {"coeff": 0.03, "divergence": "reverse_kl_pg"}}).objective
    assert added.distill is not None and added.shaping is not None


def test_the_quick_start_trains_plain_grpo_where_grpo_is_asked_for():
    for name in METHODS:
        objective = SDARConfig.from_run(load_config("quickstart", [f"method={name}"])).get_method().objective
        plain = get_method(name).with_overrides({"kl_coeff": 0.0, "entropy_coeff": 0.0}).objective
        if name == "sdar":
            plain = plain.changed({"distill": {"coeff": 1.0}})
        assert objective == plain
