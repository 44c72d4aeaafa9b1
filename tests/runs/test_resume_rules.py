"""Resume rules: which settings may change, and what the run folder records."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from made_runs import made_config, made_run  # pyright: ignore[reportMissingImports]

from sdar_gym.cli import main
from sdar_gym.configs import load_config
from sdar_gym.configs.record import command_line, resolved, settings_of, without_secrets
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.resume import plan_resume, resumed_run

REFUSED = (
    ("method=grpo", "method is 'sdar' in the run and would be 'grpo'"),
    ("training.lr=1e-2", "training.lr is 0.001 in the run and would be 0.01"),
    ("seed=9", "seed is 0 in the run and would be 9"),
    ("evaluation.tasks=4", "evaluation.tasks is 192 in the run and would be 4"),
    ("evaluation.temperature=0", "evaluation.temperature"),
    ("evaluation.seed=3", "evaluation.seed"),
    ("policy.dtype=float64", "policy.dtype is 'float32' in the run and would be 'float64'"),
    ("policy.model=Qwen/Qwen2.5-0.5B-Instruct", "policy.model"),
    ("policy.lora.r=4", "policy.lora is null in the run and would be"),
    ("skills.strategy=ucb", "skills.strategy is 'oracle_type' in the run and would be 'ucb'"),
    ("env=sdar/WebShop-v0", "sets for sdar/ALFWorld-v0"),
    ("env_config.max_steps=5", "env_config.max_steps is 20 in the run and would be 5"),
    ("env_config.task_types=[heat]", "env_config.task_types is null in the run and would be"),
    ("training.objective.teacher.weights=frozen", "training.objective.teacher.weights is null in the run"),
    ("training.group_size=8", "training.group_size is 4 in the run and would be 8"),
    ("training.adam_betas=[0.9,0.99]", "training.adam_betas"),
    ("rollout.temperature=0.5", "rollout.temperature"),
    ("training.iterations=1", "a run cannot go back"),
    ("name=other", "name has no effect with --resume"),
    ("runs_dir=elsewhere", "runs_dir has no effect with --resume"),
)
ALLOWED = (
    "training.iterations=8",
    "training.iterations=2",
    "evaluation.interval=1",
    "checkpoint_interval=3",
    "resources.num_env_runners=2",
    "resources.num_learners=1",
    "policy.torch_threads=4",
    "policy.offload_teacher=false",
    "training.lr=1e-3",
    "seed=0",
)


@pytest.mark.parametrize(("change", "told"), REFUSED, ids=[change for change, _ in REFUSED])
def test_what_a_run_is_cannot_change(change: str, told: str, run: RunFolder) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="run") as refused:
        resumed_run(run.path, None, [change])
    assert told in str(refused.value)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_all_that_changes_is_named_with_the_way_out(run: RunFolder) -> None:
    with pytest.raises(ValueError, match=r"seed is 0.*new run; policy.model=.*policy") as refused:
        resumed_run(run.path, None, ["training.iterations=8", "training.lr=1e-2", "seed=9"])
    assert "training.lr is 0.001" in str(refused.value)
    assert "iterations is" not in str(refused.value)


@pytest.mark.parametrize("change", ALLOWED)
def test_how_long_and_on_what_it_runs_may_change(change: str, run: RunFolder) -> None:
    resumption, _ = resumed_run(run.path, None, [change])
    assert [str(each).partition(":")[0] for each in resumption.changes] == (
        [] if change in ("training.lr=1e-3", "seed=0") else [change.partition("=")[0]]
    )


def test_a_resume_is_written_down_and_the_configuration_says_what_runs(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/sdar-gym", "train", "--resume", "x", "a=http://me:secret@host/b"])
    for iterations in (8, 9):
        resumed_run(run.path, None, [f"training.iterations={iterations}"])[0].note()
    entries = [json.loads(line) for line in (run.path / "resumes.jsonl").read_text().splitlines()]
    assert [entry["changes"] for entry in entries] == [
        {"training.iterations": [4, 8]},
        {"training.iterations": [4, 9]},
    ]
    assert entries[0]["update"] == 2
    assert entries[0]["command"] == ["sdar-gym", "train", "--resume", "x", "a=http://host/b"]
    assert entries[0]["packages"]["ray"]
    content = yaml.safe_load(run.config.read_text())
    assert content["training"]["iterations"] == 9
    assert content["evaluation"]["panel"] is None
    assert resumed_run(run.path)[0].run.training.iterations == 9


def test_a_configuration_that_was_edited_does_not_change_the_run(run: RunFolder) -> None:
    run.config.write_text(run.config.read_text().replace("lr: 0.001", "lr: 0.01"))
    with pytest.raises(ValueError, match=r"training.lr is 0.001 in the run and would be 0.01"):
        resumed_run(run.path)


def test_a_run_of_a_version_with_other_names_is_refused_in_one_line(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(run.config.read_text())
    old = {("algorithm" if key == "method" else key): value for key, value in content.items()}
    old["training"]["objective_by_algorithm"] = old["training"].pop("objective_by_method")
    old["policy"]["teacher_residence"] = "cpu" if old["policy"].pop("offload_teacher") else "device"
    run.config.write_text(yaml.safe_dump(old, sort_keys=False))
    monkeypatch.setattr(sys, "argv", ["sdar-gym", "train", "--resume", str(run.path)])
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit) as ended:
        main()
    (told,) = capsys.readouterr().err.splitlines()
    assert ended.value.code and told.startswith(f"error: {run.path} was written by an earlier version")
    assert "(method was algorithm)" in told and f"policy.model={run.policy}, if it was exported" in told


def test_the_panel_is_the_run_s_own_file(run: RunFolder) -> None:
    resumption, _ = resumed_run(run.path)
    assert resumption.run.evaluation.panel == str(run.panel)
    # Given to `train`, it is the same run still.
    assert plan_resume(run, resumption.run).changes == ()


@pytest.mark.parametrize("config", ["/nonexistent.yaml", "x", "{tmp}/text.yaml", "{tmp}/list.yaml"])
def test_a_configuration_beside_the_run_has_to_be_one(config: str, run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "text.yaml").write_text("just text")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"configuration|settings"):
        resumed_run(run.path, config.format(tmp=tmp_path))


def test_a_configuration_for_another_environment_is_refused_and_what_is_not_used_is_told(
    run: RunFolder, tmp_path: Path
) -> None:
    content = settings_of(load_config("quickstart"))
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**content, "env": "sdar/WebShop-v0", "env_config": {}}))
    with pytest.raises(ValueError, match=r"for sdar/WebShop-v0, and .* is a run on sdar/ALFWorld-v0"):
        resumed_run(run.path, str(tmp_path / "other.yaml"))
    (tmp_path / "edited.yaml").write_text(yaml.safe_dump({**content, "seed": 5}))
    resumption, unused = resumed_run(run.path, str(tmp_path / "edited.yaml"))
    assert resumption.run.seed == 0
    assert "seed" in unused
    assert "training.lr" not in unused


@pytest.mark.parametrize("place", ["s3://bucket/run", "missing", ".", "file.txt"])
def test_what_is_no_run_is_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ValueError, match=r"--resume must be|holds no checkpoint to resume from"):
        resumed_run(Path(place))


def test_a_run_that_was_moved_goes_on_where_it_is(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    shutil.move(run.path, moved)
    monkeypatch.chdir(moved.parent)
    resumption, _ = resumed_run(Path("run"))
    assert resumption.changes == ()
    resumption.note()
    assert yaml.safe_load((moved / "config.yaml").read_text())["runs_dir"] == str(moved.parent)
    assert resumed_run(moved)[0].folder.path == moved


def test_a_run_without_its_first_evaluation_makes_it(tmp_path: Path) -> None:
    run = made_run(tmp_path, updates=0)
    assert resumed_run(run.path)[0].evaluated == 0
    (run.path / "metrics.jsonl").write_text("")
    resumption, _ = resumed_run(run.path)
    assert (resumption.first, resumption.evaluated) == (None, -1)


def test_paths_are_whole_wherever_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model", "teacher", "games", "library", "generated", "a/b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "panel.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = made_config(
        Path("runs"),
        "policy.model=model",
        "training.objective.teacher={weights: external, model: ./teacher}",
        "training.objective_by_method.opsd={teacher: {weights: external, model: teacher}}",
        "skills.library=library",
        "evaluation.panel=panel.json",
        "env_config={games: games, data: [~/games, missing], scene: small, note: a/b, split: model, search: 'http://h/x'}",
    )
    run = resolved(config)
    place = str(tmp_path)
    assert run.runs_dir == f"{place}/runs"
    assert run.policy.model == f"{place}/model"
    assert run.skills.library == f"{place}/library"
    assert run.evaluation.panel == f"{place}/panel.json"
    assert run.training.objective["teacher"]["model"] == f"{place}/teacher"
    assert run.training.objective_by_method["opsd"]["teacher"]["model"] == f"{place}/teacher"
    assert run.env_config == {
        "games": f"{place}/games",
        "data": [f"{place}/games", "missing"],
        "scene": "small",
        "note": f"{place}/a/b",
        "split": "model",
        "search": "http://h/x",
    }
    monkeypatch.chdir("/")
    assert resolved(run) == run


def test_names_that_are_no_paths_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "generated").mkdir()
    monkeypatch.chdir(tmp_path)
    run = resolved(made_config(tmp_path, "policy.model=Qwen/Qwen3-0.6B", "skills.library=alfworld"))
    assert (run.policy.model, run.skills.library) == ("Qwen/Qwen3-0.6B", "alfworld")
    assert run.env_config["games"] == "generated"
    assert resolved(made_config(tmp_path)).policy.model == "builtin:tiny"


@pytest.mark.parametrize(
    "change",
    [
        "policy.model=s3://bucket/model",
        "evaluation.panel=gs://bucket/panel.json",
        "env_config.games=s3://bucket/games",
        "env_config.data=hdfs://x/y",
        "training.objective.teacher={weights: external, model: 's3://bucket/x'}",
    ],
)
def test_an_address_is_no_path(change: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a local or mounted folder, got the address"):
        resolved(made_config(tmp_path, change))


def test_a_folder_that_moved_may_be_named_anew(tmp_path: Path) -> None:
    (tmp_path / "games").mkdir()
    run = made_run(tmp_path / "runs", f"env_config.games={tmp_path / 'games'}")
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"env_config.games is .* in the run"):
        resumed_run(run.path, None, [f"env_config.games={tmp_path / 'other'}"])
    (tmp_path / "games").rename(tmp_path / "new")
    resumption, _ = resumed_run(run.path, None, [f"env_config.games={tmp_path / 'new'}"])
    assert [change.key for change in resumption.changes] == ["env_config.games"]


SECRETS = (
    ("http://user:secret@127.0.0.1:80/retrieve", "http://127.0.0.1:80/retrieve"),
    ("http://h/x?token=secret", "http://h/x?…"),
    ("env_config.search=http://user:secret@h/x", "env_config.search=http://h/x"),
    ("env_config={search: 'http://user:secret@h/x', k: 3}", "env_config={search: 'http://h/x', k: 3}"),
    ("env_config.search=[http://a:secret@h, https://b:secret@h]", "env_config.search=[http://h, https://h]"),
    ("training.lr=1e-4", "training.lr=1e-4"),
    ("mail@example.org", "mail@example.org"),
)


@pytest.mark.parametrize(("text", "shown"), SECRETS)
def test_passwords_are_left_out_of_what_is_kept(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_secrets({"a": [text, 3]}) == {"a": [shown, 3]}
    monkeypatch.setattr(sys, "argv", ["x", text])
    assert command_line() == ["x", shown]


def test_no_file_of_a_run_has_a_password_and_a_resume_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "http://user:secret@127.0.0.1:80/retrieve"
    monkeypatch.setattr(sys, "argv", ["sdar-gym", "train", "quickstart", f"env_config.search={address}"])
    run = made_run(tmp_path, f"env_config.search={address}")
    assert [path for path in run.path.rglob("*") if path.is_file() and b"secret@" in path.read_bytes()] == []
    with pytest.raises(ValueError, match=r"env_config.search had a password"):
        resumed_run(run.path)
    resumption, _ = resumed_run(run.path, None, [f"env_config.search={address}"])
    assert resumption.changes == ()
    assert resumption.run.env_config["search"] == address
    resumption.note()
    assert b"secret@" not in run.config.read_bytes()


def test_settings_that_json_lacks_are_kept(tmp_path: Path) -> None:
    run = made_run(tmp_path, "env_config.day=2026-01-01", "env_config.far=.inf")
    assert resumed_run(run.path)[0].changes == ()
    with pytest.raises(ValueError, match=r"env_config.far is inf"):
        resumed_run(run.path, None, ["env_config.far=1.0"])


def test_more_updates_than_metrics_have_are_another_run_s(run: RunFolder) -> None:
    lines = (run.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run.path / "metrics.jsonl").write_text("".join(lines[:2]))
    with pytest.raises(ValueError, match="has no line of update 2"):
        resumed_run(run.path)
