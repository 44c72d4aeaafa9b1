"""The commands `eval`, `compare` and `rescore`: what they print, write and refuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from chat_server import Answer, completion, models, serve  # pyright: ignore[reportMissingImports]

from sdar_gym import extras
from sdar_gym.cli import main
from sdar_gym.evaluation.rows import read_rows

SIZES = ("evaluation.tasks=6", "env_config.max_steps=2", "rollout.max_response_tokens=4", "policy.device=cpu")
PLAIN = ("--config", "quickstart", *SIZES)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs the command line in this process, in a folder of its own."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sdar-gym", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        return Outcome(code, *capsys.readouterr())

    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return run


def refused(outcome: Outcome, *parts: str) -> None:
    """One message on the error stream."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.strip().splitlines()) == 1
    for part in parts:
        assert part in outcome.err


def look(body: dict[str, Any]) -> Answer:
    return completion("<action>look</action>")


def test_an_evaluation_writes_its_folder_and_says_what_it_depends_on(
    command: Command, policy_folder: Path, tmp_path: Path
) -> None:
    named = ("--env", "sdar/ALFWorld-v0", "--with-skills", "--strategy", "oracle_type", "--repeats", 2)
    outcome = command("eval", policy_folder, *PLAIN, *named, "--max-turns", 1, "evaluation.tasks=3")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "runs" / f"eval-{policy_folder.name}"
    record = json.loads((folder / "evaluation.json").read_text())
    assert record["policy"] == str(policy_folder)
    assert record["limits"] == {"turns": 1, "tokens": None, "seconds": None}
    assert (record["sampling"]["repeats"], record["with_skills"]) == (2, True)
    assert record["settings"]["skills"]["strategy"] == "oracle_type"
    for line in (
        f"policy       {policy_folder}, weights {record['weights']}",
        "environment  sdar/ALFWorld-v0, configuration quickstart",
        "prompt       compact, context window of 2 turns, without reasoning, skills (oracle_type), up to 600 tokens",
        "sampling     T=1, up to 4 tokens a response, seed 0, 2 episodes a task",
        f"panel        valid_seen-3, hash {record['panel']['hash']}, 3 tasks",
        "limits       1 turns",
        f"folder       {folder}",
    ):
        assert line in outcome.out
    assert len(read_rows(folder / "episodes.jsonl")) == 6
    # A frozen panel, and the next free name.
    outcome = command("eval", policy_folder, *PLAIN, "--panel", folder / "panel.json")
    assert f"hash {record['panel']['hash']}, 3 tasks" in outcome.out
    assert (tmp_path / "runs" / f"eval-{policy_folder.name}-2" / "summary.json").is_file()


def test_a_server_is_evaluated_resumed_and_never_gets_its_key_written(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    broken = True

    def answer(body: dict[str, Any]) -> Answer:
        lamp = "desklamp" in body["messages"][-1]["content"]
        return Answer({"error": {"message": "no lamps for sk-very-secret"}}, 400) if broken and lamp else look(body)

    folder = tmp_path / "e"
    with serve(answer) as server:
        there = ("--endpoint", server.url, "--model", "tiny", "--key-env", "MY_KEY")
        first = command("eval", *there, *PLAIN, "--output", folder)
        assert first.code == 1
        assert f"server       {server.url}/v1, model tiny" in first.out
        assert "episodes failed and are counted nowhere: success is over the" in first.out
        assert "no lamps for ***" in first.out
        errors = json.loads((folder / "summary.json").read_text())["errors"]
        assert 0 < errors < 6
        assert command("eval", *there, *PLAIN, "--output", tmp_path / "f", "--max-errors", "0.9").code == 0
        broken = False
        asked = len(server.requests)
        again = command("eval", "--resume", folder, "--key-env", "MY_KEY", "--max-connections", 2)
        assert again.code == 0, again.err
        assert f"folder       {folder}, {6 - errors} episodes are there" in again.out
        # Two turns each, of the failed episodes alone.
        assert len(server.requests) - asked == 2 * errors
    assert json.loads((folder / "summary.json").read_text())["errors"] == 0
    assert len(read_rows(folder / "episodes.jsonl")) == 6
    assert {header["Authorization"] for header in server.headers} == {"Bearer sk-very-secret"}
    for outcome in (first, again):
        assert "sk-very-secret" not in outcome.out + outcome.err
    for file in folder.iterdir():
        assert "sk-very-secret" not in file.read_text()


def test_a_resumed_evaluation_is_the_same_or_nothing_runs(
    command: Command, policy_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "e"
    assert command("eval", policy_folder, *PLAIN, "--output", folder, "--max-turns", 2).code == 0
    whole, summary = read_rows(folder / "episodes.jsonl"), (folder / "summary.json").read_text()
    lines = (folder / "episodes.jsonl").read_text().splitlines(keepends=True)
    torn = "".join(lines[:3]) + lines[3][:50]
    (folder / "episodes.jsonl").write_text(torn)
    for changes, told in (
        (("evaluation.temperature=0.5",), "evaluation.temperature: 1.0 -> 0.5"),
        (("--max-turns", 5), "--max-turns: 2 -> 5"),
        (("evaluation.tasks=4",), "panel: '"),
        (("--with-skills",), "evaluation.with_skills: False -> True"),
    ):
        outcome = command("eval", "--resume", folder, *changes)
        assert outcome.code == 2
        assert (outcome.out, told in outcome.err) == ("", True)
        assert "was played with other settings, the 1 above" in outcome.err
        assert (folder / "episodes.jsonl").read_text() == torn
    other = command("eval", "builtin:tiny", "--resume", folder, "--config", "quickstart", *SIZES)
    assert (f"policy: '{policy_folder}' -> 'builtin:tiny'" in other.err, "weights: '" in other.err) == (True, True)
    outcome = command("eval", "--resume", folder)
    assert outcome.code == 0, outcome.err
    assert "3 episodes are there" in outcome.out
    assert (folder / "summary.json").read_text() == summary

    def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # The last digit of a mean log-probability depends on the batch.
        for row in rows:
            for turn in row["turns"]:
                turn["mean_logprob"] = round(turn["mean_logprob"], 3)
        return sorted(rows, key=lambda row: row["episode_id"])

    assert plain(read_rows(folder / "episodes.jsonl")) == plain(whole)
    # The same command with --resume is the same evaluation, and nothing is left to play.
    done = command("eval", policy_folder, *PLAIN, "--resume", folder, "--max-turns", 2)
    assert (done.code, "6 episodes are there" in done.out, "0 episodes in" in done.out) == (0, True, True)


@pytest.mark.slow
def test_a_checkpoint_is_evaluated_with_its_runs_settings(command: Command, tmp_path: Path) -> None:
    from sdar_gym.cli.training import quiet
    from sdar_gym.configs import load_config
    from sdar_gym.policy.load import load_model
    from sdar_gym.runs.checkpoint import write_checkpoint
    from sdar_gym.runs.folder import RunFolder

    quiet()  # The test itself loads a model.
    run = load_config("quickstart", [*SIZES, f"runs_dir={tmp_path / 'runs'}"])
    folder = RunFolder(tmp_path / "runs" / "quickstart-sdar")
    folder.path.mkdir(parents=True)
    folder.write_start(run, None)
    weights = {f"model.{name}": tensor * 1.01 for name, tensor in load_model("builtin:tiny").state_dict().items()}
    learner = {"rl_module": {"default_policy": weights}, "optimizer": {}, "teacher_weights": {}}
    state = {"training_iteration": 3, "learner_group": {"learner": learner}}
    with folder.fresh_checkpoint() as fresh:
        write_checkpoint(fresh, state, run="r", settings={}, panel="")
    refused(command("eval", folder.path), "holds no exported policy", f"or evaluate {folder.newest_checkpoint}")
    outcome = command("eval", folder.newest_checkpoint, "--output", tmp_path / "e")
    assert outcome.code == 0, outcome.err
    assert f"configuration {folder.config}" in outcome.out
    record = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert record["policy"] == str(folder.newest_checkpoint)
    assert record["weights"] not in (None, tiny_weights(command, tmp_path))
    damaged = folder.newest_checkpoint / "weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    refused(command("eval", folder.newest_checkpoint), "is damaged: weights.safetensors has")


def tiny_weights(command: Command, tmp_path: Path) -> str:
    """What tells the weights of the built-in policy."""
    assert command("eval", "builtin:tiny", *SIZES, "--output", tmp_path / "tiny").code == 0
    return json.loads((tmp_path / "tiny" / "evaluation.json").read_text())["weights"]


def test_what_cannot_be_evaluated_is_one_message(command: Command, tmp_path: Path) -> None:
    refused(command("eval"), "Name a policy", "--endpoint URL --model NAME")
    refused(command("eval", "builtin:tiny", "--endpoint", "http://h", "--model", "m"), "not both")
    refused(command("eval", "builtin:tiny", "--model", "m"), "--model is for a server")
    refused(command("eval", "builtin:tiny", "--key-env", "K"), "--key-env is for a server")
    refused(command("eval", "--endpoint", "http://h"), "--model NAME")
    refused(command("eval", "--endpoint", "http://u:pw@h", "--model", "m"), "--endpoint='http://h'")
    refused(command("eval", "--endpoint", "http://h", "--model", "m", "--key-env", "NOPE"), "'NOPE' is not set")
    refused(command("eval", "--endpoint", "http://127.0.0.1:1", "--model", "m"), "There is no server at")
    refused(command("eval", "--endpoint", "http://h", "--model", "m", "policy.nope=1"), "nope")
    refused(command("eval", "builtin:tiny", "--max-seconds", "0"), "--max-seconds must be above 0")
    refused(command("eval", "builtin:tiny", "--max-errors", "2"), "--max-errors")
    refused(command("eval", "--resume", tmp_path), "is no evaluation folder")
    refused(command("eval", "--resume", tmp_path, "--output", "x"), "--output has no effect with --resume")
    with serve(look, lambda: models("other")) as server:
        refused(command("eval", "--endpoint", server.url, "--model", "m"), "has no model 'm'; it has other")
    (tmp_path / "evaluation.json").write_text('{"format": 1}')
    refused(command("eval", "--resume", tmp_path), "evaluation.json cannot be used: panel is missing")
    refused(command("eval", "builtin:tiny", "--output", tmp_path), "holds an evaluation already")
    refused(command("eval", "evaluation.tasks=3"), "Name a policy")


def test_a_server_needs_its_extra_alone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in ("ray", "torch", "yaml") else object())
    needs = "needs the extra 'endpoint' (missing: yaml)"
    refused(command("eval", "--endpoint", "http://h", "--model", "m"), f"Evaluating a server's model {needs}")
    refused(command("compare", "a", "b"), f"Comparing evaluations {needs}")
    refused(command("rescore", "a"), f"Scoring an evaluation again {needs}")


def test_two_evaluations_are_compared(command: Command, policy_folder: Path, tmp_path: Path) -> None:
    sizes = ("evaluation.tasks=8", "env_config.max_steps=8", "policy.device=cpu")
    for place, seed in (("a", 0), ("b", 1)):
        done = command("eval", "builtin:tiny", *sizes, f"evaluation.seed={seed}", "--output", place)
        assert done.code == 0, done.err
    outcome = command("compare", "a", "b", "--json", tmp_path / "out" / "c.json")
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "out" / "c.json").read_text())
    both = result["all"]
    assert f"B - A = {both['difference']:+.3f} [{both['low']:+.3f}, {both['high']:+.3f}]" in outcome.out
    counts = result["counts"]
    assert sum(counts.values()) == 8
    assert result["differences"] == ["evaluation.seed: 0 -> 1"]
    assert "   evaluation.seed: 0 -> 1\n" in outcome.out
    assert f"only A {counts['first']}, only B {counts['second']}, neither {counts['neither']}" in outcome.out
    assert len(result["better"]) == counts["second"]
    assert all(f"  {task}\n" in outcome.out for task in [*result["better"], *result["worse"]])
    assert outcome.out.rstrip().endswith(f"sdar-gym view {tmp_path / 'a'} {tmp_path / 'b'}")
    refused(command("compare", "a", "nowhere"), "there is no such folder")
    refused(command("compare", "a", "b", "--json", tmp_path), "is a folder; name a file")
    assert command("eval", policy_folder, *PLAIN, "--output", tmp_path / "c").code == 0
    refused(command("compare", "a", "c"), "played other tasks", f"--panel {tmp_path / 'a' / 'panel.json'}")
    (tmp_path / "b" / "episodes.jsonl").write_text("{}\n")
    refused(command("compare", "a", "b"), "line 1, is no file of episodes", "episode_id has to be text")


def test_an_evaluation_is_scored_again(command: Command, policy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    assert command("eval", policy_folder, *PLAIN, "--output", folder).code == 0
    outcome = command("rescore", folder)
    assert (outcome.code, "observations, rewards and scores are all the same" in outcome.out) == (0, True)
    outcome = command("rescore", folder, "env_config.max_steps=1", "--output", tmp_path / "b")
    assert outcome.code == 0, outcome.err
    assert "6 differ:" in outcome.out
    assert "it ends after turn 1 of 2" in outcome.out
    assert json.loads((tmp_path / "b" / "evaluation.json").read_text())["rescored_from"] == str(folder)
    assert command("compare", folder, tmp_path / "b").code == 0
    refused(command("rescore", folder, "evaluation.seed=3"), "evaluation.seed plays no part")
    refused(command("rescore", folder, "--output", tmp_path / "b"), "holds an evaluation already")
    refused(command("rescore", tmp_path), "is no evaluation folder")
    record = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**record, "settings": {**record["settings"], "nope": 1}}))
    for again in (("rescore", folder), ("eval", "--resume", folder)):
        refused(command(*again), f"the settings in {folder / 'evaluation.json'}", "nope")
    (folder / "panel.json").unlink()
    refused(command("rescore", folder), "is not a readable task panel")
