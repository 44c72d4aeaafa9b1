from __future__ import annotations

import pickle

import pytest

from sdar_gym.algorithms import METHODS, Gate, Schedule, Statistics, get_method


def test_published_coefficients():
    # method: policy, distillation, gate, β
    expected = {
        "grpo": (1.0, 0.0, Gate.ONE, None),
        "sdar": (1.0, 0.01, Gate.SIGMOID, 5.0),
        "opsd_sdar_repo": (0.0, 0.01, Gate.SIGMOID, 5.0),
        "grpo_opsd_sdar_repo": (1.0, 0.01, Gate.CONSTANT, None),
    }
    assert set(METHODS) == set(expected)
    for name, (policy, distill, gate, beta) in expected.items():
        method = get_method(name)
        objective = method.objective
        assert method.name == name
        assert objective.policy_coeff == Schedule.constant(policy)
        assert objective.distill_coeff == Schedule.constant(distill)
        assert (objective.gate, objective.gate_beta) == (gate, beta)
        assert (objective.kl_coeff, objective.entropy_coeff) == (0.01, 0.001)
        assert (objective.clip_low, objective.clip_high, objective.dual_clip) == (0.2, 0.2, 3.0)
        assert objective.advantage_statistics is Statistics.ROW
        assert method.needs_teacher == (distill > 0)


def test_every_row_says_where_it_comes_from():
    for method in METHODS.values():
        assert "arXiv" in method.source
        assert method.summary.endswith(".")
        assert all(deviation.endswith(".") for deviation in method.deviations)


def test_methods_travel_to_workers():
    for method in METHODS.values():
        assert pickle.loads(pickle.dumps(method)) == method


def test_overrides_replace_settings_and_leave_the_table_alone():
    before = get_method("sdar")
    changed = before.with_overrides(
        kl_coeff=0.001,
        distill_coeff={"kind": "linear", "start": 0.01, "end": 0.0, "steps": 50},
        advantage_statistics="trajectory",
    )
    assert (changed.name, changed.source) == (before.name, before.source)
    assert changed.objective.kl_coeff == 0.001
    assert changed.objective.distill_coeff.at(25) == pytest.approx(0.005)
    assert changed.objective.advantage_statistics is Statistics.TRAJECTORY
    assert changed.objective.gate_beta == 5.0
    assert get_method("sdar") == before != changed


def test_overrides_can_change_the_gate():
    ungated = get_method("sdar").with_overrides(gate="constant", gate_beta=None)
    assert ungated.objective == get_method("grpo_opsd_sdar_repo").objective


def test_unknown_names_are_refused_with_the_closest_one():
    with pytest.raises(ValueError, match=r"Unknown method 'sdra'\. Did you mean 'sdar'\?"):
        get_method("sdra")
    with pytest.raises(ValueError, match=r"Unknown method 'zzz'\. Known names"):
        get_method("zzz")
    with pytest.raises(ValueError, match=r"no setting 'kl_coef'\. Did you mean 'kl_coeff'\?"):
        get_method("grpo").with_overrides(kl_coef=0.1)


def test_senseless_overrides_are_refused():
    with pytest.raises(ValueError, match="nothing to learn from"):
        get_method("opsd_sdar_repo").with_overrides(distill_coeff=0.0)
    with pytest.raises(ValueError, match="has no effect with gate='constant'"):
        get_method("sdar").with_overrides(gate="constant")
    with pytest.raises(TypeError):
        METHODS["mine"] = get_method("sdar")  # type: ignore[index]
