"""Writes the tables of pages that people write: each between two comments, from the results that are committed.

    python scripts/result_tables.py [--check]

A table stands between `<!-- table NAME, by scripts/result_tables.py -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from generated_pages import write_pages

from sdar_gym.reproduce.tables import markdown

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
_SPAN = re.compile(
    r"(<!-- table (?P<name>[\w-]+), by scripts/result_tables\.py -->\n).*?(<!-- end of table -->)", re.DOTALL
)
Json = Mapping[str, Any]

# Name in the table of the page, and in the study.
_ARMS = {
    "alfworld": (
        ("SDAR, λ = 1", "sdar, λ tuned"),
        ("SDAR, share .4", "sdar, by share"),
        ("SDAR, λ = 3, with trust", "sdar, trust at .95"),
        ("SDPO, given skills", "sdpo, with skills"),
        ("frozen cross-entropy, λ = .4", "frozen_ce"),
        ("frozen cross-entropy, λ = .4, with trust", "frozen_ce, trust at .95"),
        ("`allfail_ce`, λ = .1", "allfail_ce"),
        ("SDAR as published, λ = .01", "sdar, published λ"),
    ),
    "searchqa": (
        ("SDAR, λ = .3", "sdar, λ tuned"),
        ("SDAR, share .4", "sdar, share .4"),
        ("SDAR, λ = .3, with trust", "sdar, trust at .95"),
        ("SDPO, given skills", "sdpo, with skills"),
        ("frozen cross-entropy, λ = 1", "frozen_ce"),
        ("frozen cross-entropy, λ = 1, with trust", "frozen_ce, trust at .95"),
        ("`allfail_ce`, λ = .4", "allfail_ce"),
        ("SDAR as published, λ = .01", "sdar, published λ"),
    ),
    "webshop": (
        ("SDAR, λ = .1", "sdar, λ tuned"),
        ("SDAR, share .4", "sdar, share .4"),
        ("SDAR, λ = .3, with trust", "sdar, trust at .95"),
        ("SDPO, given skills", "sdpo, with skills"),
        ("frozen cross-entropy, λ = .1", "frozen_ce"),
        ("frozen cross-entropy, λ = .4, with trust", "frozen_ce, trust at .95"),
        ("SDAR as published, λ = .01", "sdar, published λ"),
    ),
}
_BAD_SKILLS = ("wrong", "mixed", "empty", "irrelevant")
_TITLES = {"alfworld": "ALFWorld", "searchqa": "Search-QA", "webshop": "WebShop"}
_IN_SHORT = (
    ("SDAR, λ tuned", "sdar, λ tuned"),
    ("cross-entropy to a frozen teacher, λ tuned", "frozen_ce"),
    ("the same with trust", "frozen_ce, trust at .95"),
    ("SDPO, given skills", "sdpo, with skills"),
)
_KINDS = (
    "every type is sometimes solved alone (ALFWorld)",
    "a type is hardly ever solved alone, and nearly always with the skill (Search-QA)",
    "GRPO comes near the policy with its skill (WebShop)",
)


def study_tables(name: str) -> str:
    """All tables of a study, each below its title; of a study of one part only the table.

    Args:
        name: The file in docs/results, without ending.
    """
    study = _read(RESULTS / f"{name}.json")
    tables = {study["titles"][part]: markdown(table) for part, table in study["tables"].items()}
    if len(tables) == 1:
        return next(iter(tables.values()))
    return "\n\n".join(f"## {title}\n\n{table}" for title, table in tables.items())


def right_and_bad_skills(environment: str) -> str:
    """Differences to GRPO by kind of skills.

    Args:
        environment: Part of the micro study.
    """
    tables = _read(RESULTS / "micro.json")["tables"]
    parts = {"right": environment, **{kind: f"{environment}-{kind}" for kind in _BAD_SKILLS}}
    parts = {kind: part for kind, part in parts.items() if part in tables}
    rows = [[name, *(_difference(tables[part], arm) for part in parts.values())] for name, arm in _ARMS[environment]]
    return _table([_TITLES[environment], *parts], rows)


def in_short() -> str:
    """Differences to GRPO with right skills in the three environments."""
    tables = _read(RESULTS / "micro.json")["tables"]
    alone = [_short(_row(tables[name], "grpo")["success"]) for name in _TITLES]
    rows = [[name, *(_difference(tables[part], arm) for part in _TITLES)] for name, arm in _IN_SHORT]
    return _table(["", *_KINDS], [["GRPO", *alone], *rows])


def differences(part: str) -> str:
    """Success of a part's arms, and the differences to its baseline.

    Args:
        part: Part of the micro study.
    """
    study = _read(RESULTS / "micro.json")
    baseline, table = study["baselines"][part], study["tables"][part]
    rows = [
        [row["arm"], f"{_short(row['success'])} ± {_short(row['success_half'])}", _difference(table, row["arm"])]
        for row in sorted(table, key=lambda row: row["arm"] != baseline)
    ]
    return _table(["", "success", f"− {baseline}"], rows)


def chat_skills() -> str:
    """Success of the chat study's start without skills, with the right and with wrong ones."""
    right, wrong = (
        {row["name"]: row for row in _read(RESULTS / f"chat-skills-{kind}.json")["rows"] if row["kind"] != "skill"}
        for kind in ("right", "wrong")
    )
    rows = [
        [
            f"`{name}`" if row["kind"] == "task type" else name,
            str(row["tasks"]),
            _short(row["student"]),
            _short(row["teacher"]),
            _short(wrong[name]["teacher"]),
            "{} [{}, {}]".format(*(_short(row[key], signed=True) for key in ("difference", "low", "high"))),
        ]
        for name, row in right.items()
    ]
    return _table(["", "tasks", "without", "right skill", "wrong skill", "right − without"], rows)


def chat_types() -> str:
    """Success by task type of the chat study's arms, means over seeds."""
    (runs,) = _read(RESULTS / "chat.json")["runs"].values()
    arms = list(dict.fromkeys(run["arm"] for run in runs))
    rows = []
    for kind in runs[0]["by_type"]:
        rates = [[run["by_type"][kind] for run in runs if run["arm"] == arm] for arm in arms]
        rows.append([f"`{kind}`", *(_short(sum(each) / len(each)) for each in rates)])
    return _table(["", *arms], rows)


def scaling() -> str:
    """What processes cost and gain, as ratios to one that does everything."""
    result = _read(ROOT / "benchmarks" / "results" / "scaling.json")
    arms, waiting = result["arms"], result["waiting"]
    beside = result["evaluation_beside"]
    rows = [
        ["1, 2, 4 env runners", *_ratios(arms["1 runner"], arms["2 runners"], arms["4 runners"])],
        ["1, 2 learners", *_ratios(arms["1 learner"], arms["2 learners"])],
        ["1 env runner that plays ahead", *_ratios(arms["1 runner, ahead"])],
        ["evaluation beside training, every third update", *_ratios(beside)],
        [
            f"rollouts and updates wait {waiting['seconds']:.0f} s more each, as for GPUs of their own: 1 runner that "
            "plays ahead, against one that does not",
            *_ratios(waiting["ahead"]),
        ],
        ["the same: evaluation beside training, against between", *_ratios(waiting["evaluation_beside"])],
    ]
    return _table(["", "time", "CPU time"], rows)


def simulated_trust() -> str:
    """Episodes that test the skills, and the teacher's weight, by kind of skills."""
    result = _read(ROOT / "benchmarks" / "results" / "trust.json")
    episodes = result["updates"] * result["tasks"]
    rows = [
        [
            row["skills"],
            "none" if row["confidence"] is None else f"{row['confidence']:.2f}".removeprefix("0"),
            f"{row['tested']:.0f}",
            *(_short(row[name]) if name in row else "" for name in ("helped", "others")),
        ]
        for row in result["rows"]
    ]
    head = ["skills", "c", f"episodes with skills, of {episodes}", "weight where they help", "weight elsewhere"]
    return _table(head, rows)


def _ratios(*arms: Json) -> list[str]:
    times = [arm["seconds_ratio"] for arm in arms]
    return [
        ", ".join(f"{ratio['median']:.2f} ({ratio['smallest']:.2f} to {ratio['largest']:.2f})" for ratio in times),
        ", ".join(f"{arm['cpu_seconds_ratio']['median']:.2f}" for arm in arms),
    ]


def _row(table: Sequence[Json], arm: str) -> Json:
    return next((row for row in table if row["arm"] == arm), {})


def _difference(table: Sequence[Json], arm: str) -> str:
    row = _row(table, arm)
    if "difference" not in row:
        return ""
    return f"{_short(row['difference'], signed=True)} ± {_short(row['difference_half'])}"


def _short(number: float, *, signed: bool = False) -> str:
    """Two decimals without the zero before the point."""
    rounded = round(number, 2)
    sign = "−" if rounded < 0 else "+" if signed and rounded > 0 else ""
    return sign + f"{abs(rounded):.2f}".replace("0.", ".", 1)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)])


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


TABLES: dict[str, Callable[[], str]] = {
    "micro": lambda: study_tables("micro"),
    "chat": lambda: study_tables("chat"),
    "chat-skills": chat_skills,
    "chat-types": chat_types,
    "in-short": in_short,
    **{f"skills-{name}": lambda name=name: right_and_bad_skills(name) for name in _TITLES},
    "ablations-alfworld": lambda: differences("alfworld-ablations"),
    "large-batch": lambda: differences("alfworld-64-episodes"),
    "scaling": scaling,
    "trust": simulated_trust,
}
PAGES = tuple(ROOT / "docs" / name for name in (
    "results/micro.md", "results/chat.md", "when-does-the-teacher-help.md", "data-flow.md", "learner.md"
))  # fmt: skip


def filled(text: str) -> str:
    """A page with its tables as the results have them.

    Raises:
        KeyError: A table's name is unknown.
    """
    return _SPAN.sub(lambda found: f"{found[1]}\n{TABLES[found['name']]()}\n\n{found[3]}", text)


if __name__ == "__main__":
    sys.exit(write_pages(__doc__, {page: filled(page.read_text(encoding="utf-8")) for page in PAGES}))
