"""Gives the command line what makes no sense, and counts what is answered by one message.

    python scripts/robustness/command_lines.py [--sample N] [--list]

A malformed line is answered well if the command ends with an error code and one line on the error stream that starts
with `error:`, without a traceback, without anything that acts on a terminal, within ten seconds, and before Ray starts.
The lines follow from rules over all settings and commands, so that a new setting is tried as soon as there is one. They
are run in this process, in an empty folder.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, get_origin

from sdar_gym.cli import main as command_line
from sdar_gym.configs.schema import RunConfig
from sdar_gym.settings import hints_of, members

SECONDS = 10.0
PATIENCE = 30
SMALL = ("training.iterations=2", "training.tasks_per_iteration=2", "evaluation.tasks=8")
TRAIN = ("train", "quickstart", *SMALL)
_ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
# What no setting of a type can be.
WRONG: dict[Any, tuple[str, ...]] = {
    int: ("true", "2.5", ".nan", ".inf", "-1", "many", "1:30", "010", "1" + "0" * 30, "[1]", "{a: 1}", "''"),
    float: ("true", ".nan", ".inf", "-1", "much", "12e4567", "[1]", "{a: 1}", "'0.1'"),
    bool: ("maybe", "3", "[true]", "{a: 1}", "'true'"),
    str: ("", "[a", "s3://bucket/x"),
    "group": ("3", "text", "[1]", "{nope: 1}"),
}
# What these rules take for wrong and is not.
FINE = frozenset({"evaluation.panel=", "name=[a", "runs_dir=[a", "policy.model=[a"})
MORE = """
training.iterations=1000000000
training.tasks_per_iteration=100000000
training.iterations=900000 training.tasks_per_iteration=900000
training.group_size=1
training.num_minibatches=1000000
training.lr=1e300
training.lr=1e30
training.lr=0
training.adam_betas=[0.9]
training.adam_betas=[0.9, 1.0]
training.adam_betas=0.9
training.objective={distil: {}}
training.objective.distill.coeff=-1
training.objective.distill.coeff=x
training.objective.distill.coeff={kind: cosine}
training.objective.distill.coeff=[[0, 1.0], [0, 0.5]]
training.objective.distill.gate=nope
training.objective.distill.gate={beta: -1}
training.objective.distill.gate={name: constant, beta: 2}
training.objective.shaping=nope
training.objective.teacher={weights: external}
training.objective.teacher.weights=ema
training.objective.kl_coeff=.nan
training.objective_by_algorithm.sdar={kl_coeff: 0.0}
training.objective_by_method.sdra={kl_coeff: 0.0}
training.objective_by_method.grpo={kl: 0.0}
method=sdra
method=
algorithm=grpo
skills.strategy=bm52
skills.strategy=none
skills.backend=nope
skills.library=no/such/library
skills.library=~nosuchuser/x
skills.field_weights={title: x}
skills.field_weights={title: -1}
rollout.prompt=long
rollout.max_response_tokens=100000000000
rollout.max_prompt_tokens=10
rollout.temperature=0
rollout.temperature=1e-320
rollout.chat_template_kwargs={tokenize: false}
rollout.chat_template_kwargs={messages: 1}
rollout.chat_template_kwargs={return_dict: true}
rollout.chat_template_kwargs={chat_template: '{{ x.y.z }}'}
rollout.chat_template_kwargs={add_generation_prompt: false}
rollout.chat_template_kwargs=3
policy.model=~nosuchuser/x
policy.model=./no/such/folder
policy.model=builtin:huge
policy.model=hf://org/name
policy.dtype=float16
policy.torch_threads=1000000000000
policy.lora={target_modules: [nope]}
policy.lora={r: 0}
policy.lora={rank: 8}
policy.lora={alpha: -1}
policy.offload_teacher=disk
policy.teacher_residence=cpu
env=sdar/AlfWorld-v0
env=
env_config.games=~nosuchuser/x
env_config.games=/no/such/games
env_config.games=gs://bucket/games
env_config.scene=huge
env_config.scenes=small
env_config.max_steps=.nan
env_config.max_steps=3.5
env_config.max_steps=0
env_config.max_steps=true
env_config.max_steps=many
env_config.split=nope
env_config.task_types=[nope]
env_config.backend=nope
env_config.goals=nope
evaluation.split=nope
evaluation.panel=/no/such/panel.json
evaluation.panel=~nosuchuser/p.json
evaluation.tasks=100000000000000000000
evaluation.temperature=1e-320
resources.num_env_runners=99 resources.num_learners=2
resources.num_learners=999
resources.num_gpus_per_learner=99
seed=4294967296
runs_dir=s3://my-bucket/runs
runs_dir=gs://bkt/x
runs_dir=~nosuchuser/x
runs_dir=/dev/null/x
name=..
name=.
name=../up
name=/tmp/y
name=a/b
name=[/x]
name=a b
name=a\tb
name=\x1b]0;t\x07
name=con:|<>
training.lr
=3
training..lr=1
training.lr.peak=1
name.first=x
.=1
nope=1
training.lr=[
training.lr={
training.lr=*x
training.lr=!!python/object:os.system {}
env_config.x={a: 1, a: 2}
"""
# Whole command lines; @NAME is a file that is made before.
COMMANDS = """
nope
train
train nope
train @missing
train @folder
train ~nosuchuser/x
train s3://bucket/x.yaml
train quickstart --nope
train quickstart --resume
train quickstart --resume @missing
train quickstart --resume @text
train quickstart --resume s3://bucket/run
train quickstart --resume ~nosuchuser/x
eval
eval nope/nope/nope
eval ./missing
eval builtin:huge
eval s3://bucket/run
eval ~nosuchuser/x
eval @text
eval builtin:tiny --config nope
eval builtin:tiny --config ~nosuchuser/x
eval builtin:tiny --output @text
eval builtin:tiny --output @text/x
eval builtin:tiny --output s3://bucket/x
eval builtin:tiny --output ~nosuchuser/x
eval builtin:tiny evaluation.tasks=0
eval builtin:tiny evaluation.split=nope
eval builtin:tiny env=nope
eval builtin:tiny env=sdar/WebShop-v0 env_config.games=generated
eval builtin:tiny env=sdar/SearchQA-v0 env_config.corpus=http://host/x
eval builtin:tiny method=sdra
play
play sdar/Chess-v0
play sdar/ALFWorld-v0 --seed -1
play sdar/ALFWorld-v0 --seed x
play sdar/ALFWorld-v0 --task nope
play sdar/ALFWorld-v0 games
play sdar/ALFWorld-v0 =3
play sdar/ALFWorld-v0 games=/no/such
play sdar/ALFWorld-v0 games=~nosuchuser/x
play sdar/ALFWorld-v0 games=s3://bucket/x
play sdar/ALFWorld-v0 scenes=small
play sdar/ALFWorld-v0 max_steps=nan
play sdar/ALFWorld-v0 max_steps=0
play sdar/ALFWorld-v0 max_steps=2.5
play sdar/ALFWorld-v0 split=nope
play sdar/WebShop-v0 data=/no/such
play sdar/WebShop-v0 num_products=-1
play sdar/SearchQA-v0 questions=/no/such
play sdar/SearchQA-v0 topk=0
play sdar/SearchQA-v0 search=nope
warmstart
warmstart @text
warmstart @text/x
warmstart out --steps 0
warmstart out --steps -1
warmstart out --steps x
warmstart out --seed -1
warmstart out --seed 4294967296
warmstart s3://bucket/x
warmstart ~nosuchuser/x
index
index @missing --output out
index @text
index @text --output @text
index @text --output s3://bucket/x
index s3://bucket/x --output out
index @text --output out --backend nope
index @text --output out --k1 x
serve-search
serve-search @missing
serve-search @text
serve-search s3://bucket/x
serve-search @folder --port x
serve-search @folder --port 99999999
serve-search @folder --topk 0
baselines nope
baselines --episodes 0
baselines --episodes x
baselines --seed -1
baselines --output @folder
baselines --output @text/x
baselines --json @folder
data
data fetch
data fetch nope
data fetch webshop --offline @missing
data fetch webshop --offline s3://bucket/x
data fetch webshop --output s3://bucket/x
data fetch webshop --mirror nope
skills
skills nope
skills list nope
skills list ~nosuchuser/x
skills search
skills search alfworld
skills search nope heat
skills search alfworld heat --strategy nope
skills search alfworld heat --backend nope
skills search alfworld heat --k 0
skills search alfworld heat --k x
skills stats nope
skills add alfworld @missing
skills add out @missing
skills add out s3://bucket/x
skills add out @text --min-mistakes 0
methods
methods show
methods show sdra
"""
LEAST = "name: x\nenv: sdar/ALFWorld-v0\n"
FILES: dict[str, bytes] = {
    "empty": b"",
    "list": b"- 1\n",
    "text": b"just text\n",
    "broken": b"a: [\n",
    "binary": b"\x00\xff\xfe\x89PNG",
    "latin": "name: größe\n".encode("latin-1"),
    "utf16": LEAST.encode("utf-16"),
    "deep": b"a: " + b"[" * 5000,
    "deep-groups": b"a: " + b"{a: " * 5000,
    "large": LEAST.encode() + b"# comment\n" * 100_000,
    "duplicate": f"{LEAST}training: {{lr: 0.1}}\ntraining: {{iterations: 2}}\n".encode(),
    "duplicate-inner": f"{LEAST}training: {{lr: 0.1, lr: 0.2}}\n".encode(),
    "two-documents": f"{LEAST}---\n{LEAST}".encode(),
    "no-env": b"name: x\n",
    "no-name": b"env: sdar/ALFWorld-v0\n",
    "null-section": f"{LEAST}training:\n".encode(),
    "list-section": f"{LEAST}training: [1]\n".encode(),
    "unknown-section": f"{LEAST}trainig: {{lr: 1.0}}\n".encode(),
    "number-keys": f"{LEAST}training: {{1: 2}}\n".encode(),
    "list-keys": f"{LEAST}? [a]\n: 1\n".encode(),
    "tag": f"{LEAST}env_config: !!python/object:os.system {{}}\n".encode(),
    "loop": f"{LEAST}env_config: {{x: &a [*a]}}\n".encode(),
    "bomb": (LEAST + "env_config:\n  x0: &a0 [x,x,x,x,x,x,x,x,x,x]\n").encode()
    + b"".join(b"  x%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)),
    "escapes": b'name: "../\\e]0;title\\aescaped"\nenv: sdar/ALFWorld-v0\n',
    "escapes-key": LEAST.encode() + b'"\\e[2J": 1\n',
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a line: `fault` is empty if it was answered well."""

    line: tuple[str, ...]
    fault: str
    seconds: float
    told: str


class _NotRefusedError(BaseException):
    """Something began that a malformed line should never reach."""


def settings(kind: type = RunConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and types of all settings."""
    for name, hint in hints_of(kind).items():
        group = next((one for one in members(hint) if is_dataclass(one)), None)
        yield f"{prefix}{name}", "group" if group or get_origin(hint) is dict else members(hint)[0]
        if isinstance(group, type):
            yield from settings(group, f"{prefix}{name}.")


def lines(folder: Path) -> list[tuple[str, ...]]:
    """All malformed command lines; the files that they name are made in a folder."""
    found = []
    for name, kind in settings():
        for value in WRONG.get(kind, ()):
            free = name.endswith(("env_config", "kwargs", "objective", "field_weights", "by_method"))
            checked = kind is not str or name in ("name", "runs_dir", "policy.model", "evaluation.panel")
            if checked and f"{name}={value}" not in FINE and not (free and value == "{nope: 1}"):
                found.append((*TRAIN, f"{name}={value}"))
    found += [(*TRAIN, *re.split(r" (?=\w+\.\w+=)", line)) for line in MORE.strip("\n").split("\n")]
    for name, content in FILES.items():
        (folder / f"{name}.yaml").write_bytes(content)
        found.append(("train", str(folder / f"{name}.yaml")))
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "text").write_text("text", encoding="utf-8")
    found.append(("train", "x" * 5000))
    found.append(("train", "x" * 300))
    for line in COMMANDS.strip().split("\n"):
        found.append(tuple(part.replace("@", f"{folder}/") for part in line.split(" ")))
    return list(dict.fromkeys(found))


def ask(line: Sequence[str]) -> Answer:
    """Run one command line in this process."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    before, code, fault = sys.argv, 0, ""
    started = time.perf_counter()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(PATIENCE)
    try:
        sys.argv = ["sdar-gym", *line]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _no_work():
            command_line()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except _NotRefusedError as error:
        fault = str(error)
    except BaseException as error:
        fault = f"{type(error).__name__}: {error} at {traceback.extract_tb(error.__traceback__)[-1]}"
    finally:
        signal.alarm(0)
        sys.argv = before
    seconds = time.perf_counter() - started
    told = err.buffer.getvalue().decode("utf-8", "replace") if not err.closed else ""  # pyright: ignore[reportAttributeAccessIssue]
    return Answer(tuple(line), fault or _judged(line, code, told, seconds), seconds, told)


def _judged(line: Sequence[str], code: int, told: str, seconds: float) -> str:
    told = told.strip()  # A bar that is taken away leaves an empty line.
    if code == 0:
        return "ended with 0"
    if seconds > SECONDS:
        return f"took {seconds:.0f} s"
    if "Traceback" in told:
        return "a traceback"
    # A group of commands without one of them shows its help instead.
    if tuple(line) in (("data",), ("skills",), ("methods",)):
        return "" if "Usage:" in told else "neither help nor a message"
    if not told.startswith("error: ") or told.count("error: ") != 1 or len(told.splitlines()) != 1:
        return "not one message"
    if len(told) > 2000:
        return f"{len(told):,} characters"
    return "acts on the terminal" if _ACTS.search(told) else ""


def _too_long(*_: object) -> None:
    raise _NotRefusedError(f"still at it after {PATIENCE} s")


@contextlib.contextmanager
def _no_work() -> Iterator[None]:
    """Turn the beginning of work into an exception."""
    import ray

    import sdar_gym.policy.warmstart as warmstart

    def begun(*_: object, **__: object) -> None:
        raise _NotRefusedError("accepted: work began")

    kept = ray.init, warmstart.warm_start
    ray.init, warmstart.warm_start = begun, begun
    try:
        yield
    finally:
        ray.init, warmstart.warm_start = kept


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all lines, or each of a sample, and print how many were answered well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sample", type=int, default=1, help="every so many lines only")
    parser.add_argument("--list", action="store_true", help="print every line and its answer")
    asked = parser.parse_args(arguments)
    place, home = Path(tempfile.mkdtemp(prefix="sdar-gym-lines-")), Path.cwd()
    os.environ["COLUMNS"], os.environ["HF_HUB_OFFLINE"] = "200", os.environ.get("HF_HUB_OFFLINE", "1")
    os.environ.pop("ALFWORLD_DATA", None)
    try:
        os.chdir(place)
        answers = [ask(line) for line in lines(place)[:: asked.sample]]
    finally:
        os.chdir(home)
        shutil.rmtree(place, ignore_errors=True)
    for answer in answers:
        if answer.fault or asked.list:
            shown = " ".join(part[:80] for part in answer.line)
            print(f"{answer.fault or 'ok'} ({answer.seconds:.1f} s): {shown!r}: {answer.told[:200]!r}")
    good = sum(not answer.fault for answer in answers)
    slowest = max(answer.seconds for answer in answers)
    print(f"{good} of {len(answers)} malformed command lines answered by one message; the slowest in {slowest:.1f} s")
    return int(good != len(answers))


if __name__ == "__main__":
    sys.exit(main())
