"""Benchmark of skill retrieval: recall of the right skills by each strategy and search backend.

    python benchmarks/skill_retrieval.py [--data FOLDER] [--json OUT]

The labeled set: every distinct goal of the environments' embedded evaluation splits, with its task type. Relevant are
the skills written for that type ("type"), and the first of them, the procedure ("procedure"). Measured is whether one
of them is among the first 1, 3 and 5 retrieved; general skills, which every task gets, are not counted. Rates are means
over goals within a task type, then the unweighted mean over types, so that frequent types have no more weight. The
libraries were written with the embedded goals' wordings in view; goals of the benchmarks' real data, which were not,
are measured as well where `--data` (or SDAR_GYM_DATA) has them.

`ucb` is left out: it picks among skills of the right type by the rewards of a run, so recall does not measure it, and
made-up rewards would only return what was made up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

import gymnasium
from machine import machine, machine_line
from rich.console import Console
from rich.table import Table

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.skills import SkillLibrary, SkillQuery, load_library, make_retriever
from sdar_gym.skills.index import MissingBackendError, resolve_backend

KS = (1, 3, 5)
EMBEDDED = (
    ("alfworld", "sdar/ALFWorld-v0", ("valid_seen", "valid_unseen")),
    ("webshop", "sdar/WebShop-v0", ("valid", "test")),
    ("searchqa", "sdar/SearchQA-v0", ("dev", "test")),
)
# More questions of a real set would not change the rates.
REAL_QUESTIONS = 1000
FIELD_WEIGHTS = {"title": 1.0, "when_to_use": 2.0, "text": 0.5}
Goals = dict[str, str]


def embedded_goals(env_id: str, splits: Iterable[str], **arguments: Any) -> Goals:
    """The distinct goals of some splits, and their task types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env: Any = gymnasium.make(env_id, disable_env_checker=True, **arguments).unwrapped
    goals = {}
    for split in splits:
        for task in env.task_ids(split):
            _, info = env.reset(options={"task_id": task})
            goals[info["goal"]] = info["task_type"]
    env.close()
    return goals


def real_goals(root: Path) -> dict[str, tuple[str, Goals]]:
    """Library and goals by name, for the real data sets that are there."""
    from sdar_gym.envs.searchqa.questions import open_questions

    found: dict[str, tuple[str, Goals]] = {}
    if (root / "webshop").is_dir():
        found["webshop, real products"] = (
            "webshop",
            embedded_goals("sdar/WebShop-v0", ("train", "valid", "test"), data=root / "webshop"),
        )
    questions: Goals = {}
    for name in ("NQ-open.dev.jsonl", "hotpot_dev_v1_simplified.json"):
        path = root / "searchqa" / name
        if path.is_file():
            source = open_questions(path)
            for split in source.splits:
                for task in source.task_ids(split)[:REAL_QUESTIONS]:
                    question = source.load(task)
                    questions[question.text] = question.task_type
    if questions:
        found["searchqa, real questions"] = ("searchqa", questions)
    return found


def settings(backends: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """The compared settings: a name and the arguments of `make_retriever`."""
    rows: list[tuple[str, dict[str, Any]]] = [("oracle_type", {"strategy": "oracle_type"})]
    for backend in backends:
        rows.append((f"bm25 ({backend})", {"strategy": "bm25", "backend": backend}))
        fields = {"strategy": "bm25", "backend": backend, "field_weights": FIELD_WEIGHTS}
        rows.append((f"bm25, fields ({backend})", fields))
    return rows + [(name, {"strategy": name}) for name in ("keywords", "full", "random")]


def measure(library: SkillLibrary, goals: Goals, arguments: dict[str, Any]) -> dict[str, Any]:
    """Recall of the right type and of its procedure, and the number of goals without any skill."""
    retriever = make_retriever(library=library, k=max(KS), **arguments)
    general = len(library.general())
    right: defaultdict[str, list[list[bool]]] = defaultdict(list)
    nothing = 0
    for goal, task_type in goals.items():
        picked = retriever.retrieve(SkillQuery(library.name, task_type, goal)).skills[general:]
        nothing += not picked
        procedure = library.for_task_type(task_type)[0].id
        of_type = [scored.skill.applies_to(task_type) for scored in picked]
        first = [scored.skill.id == procedure for scored in picked]
        right[task_type].append([any(found[:k]) for found in (of_type, first) for k in KS])
    by_type = {name: [mean(column) for column in zip(*rows, strict=True)] for name, rows in sorted(right.items())}
    overall = [mean(column) for column in zip(*by_type.values(), strict=True)]
    names = [f"{what}@{k}" for what in ("type", "procedure") for k in KS]
    return {
        "recall": {name: round(value, 4) for name, value in zip(names, overall, strict=True)},
        "type@1_by_task_type": {name: round(values[0], 4) for name, values in by_type.items()},
        "nothing_found": nothing,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SDAR_GYM_DATA"), help="folder of real data")
    default = Path(__file__).parent / "results" / "skill_retrieval.json"
    parser.add_argument("--json", type=Path, default=default, metavar="OUT")
    options = parser.parse_args()
    backends = ["bm25s"]
    try:
        backends.append(resolve_backend("lucene"))
    except MissingBackendError as error:
        print(error, file=sys.stderr)
    sets = {name: (name, embedded_goals(env_id, splits)) for name, env_id, splits in EMBEDDED}
    if options.data:
        sets |= real_goals(Path(options.data))
    console = Console()
    where = machine("bm25s", "PyStemmer", "pyserini", "rapidfuzz")
    result: dict[str, Any] = {"machine": where, "field_weights": FIELD_WEIGHTS, "sets": {}}
    for name, (library_name, goals) in sets.items():
        library = load_library(library_name)
        rows = {row: measure(library, goals, arguments) for row, arguments in settings(backends)}
        result["sets"][name] = {"goals": len(goals), "library": library.fingerprint(), "strategies": rows}
        table = Table(title=f"{name}: {len(goals)} goals", title_justify="left", box=None, pad_edge=False)
        for column in ("strategy", *rows["full"]["recall"], "nothing"):
            table.add_column(column, justify="left" if column == "strategy" else "right")
        for row, values in rows.items():
            table.add_row(row, *(f"{value:.3f}" for value in values["recall"].values()), str(values["nothing_found"]))
        console.print(table)
        console.print()
    console.print(machine_line(where), highlight=False)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
