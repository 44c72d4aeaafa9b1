"""Plays recordings of the official WebShop environment on ours and counts what is equal.

    python benchmarks/webshop_golden.py [DATA] [--backend bm25s|lucene] [--json OUT] [--show N]

DATA is a folder with WebShop's products and a folder `golden/` of recordings (default `$SDAR_GYM_DATA/webshop`). The
recordings were made with a stand-in for spaCy's nouns; its noun lists are fed in, so that every row is compared. Rows
without anything to compare are counted as skipped, with the reason.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from sdar_gym.envs.webshop.catalog import Catalog
from sdar_gym.envs.webshop.goals import Goal, ReferenceGoals, limit_candidates, sampled_goals
from sdar_gym.envs.webshop.reference import ReferenceShop
from sdar_gym.envs.webshop.reward import Score, color_of_pair, color_within, score_purchase, token_set_ratio
from sdar_gym.envs.webshop.session import SEARCH_HITS, split_action
from sdar_gym.envs.webshop.sources import open_catalog
from sdar_gym.envs.webshop.title_nouns import Nouns
from sdar_gym.skills.index.analysis import terms

Row = dict[str, Any]
# Scores of the recordings are rounded to four decimals.
SCORE_TOLERANCE = 6e-5


@dataclass
class Count:
    """What came of one file of recordings."""

    compared: int = 0
    equal: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def check(self, what: str, ours: Any, theirs: Any) -> bool:
        self.compared += 1
        if ours == theirs:
            self.equal += 1
            return True
        self.differences.append(f"{what}: ours {ours!r}, recorded {theirs!r}"[:400])
        return False


class Golden:
    """A folder of recordings beside its products."""

    def __init__(self, data: Path, backend: str = "auto"):
        self.folder = data / "golden"
        self.catalog: Catalog = open_catalog(data)
        self.backend = backend
        lists = {row["asin"]: tuple(row["nouns"]) for row in self.rows("title_nouns")}
        by_title = {self.catalog.products[asin].title: nouns for asin, nouns in lists.items()}
        self.nouns: Nouns = by_title.__getitem__

    def rows(self, name: str) -> Iterator[Row]:
        plain, packed = self.folder / f"{name}.jsonl", self.folder / f"{name}.jsonl.xz"
        with plain.open(encoding="utf-8") if plain.is_file() else lzma.open(packed, "rt", encoding="utf-8") as stream:
            for line in stream:
                yield json.loads(line)


def check_goals(golden: Golden, count: Count) -> None:
    made = golden.catalog.reference_goals("synthetic", 0)
    weights = made.weights()
    place = {goal: at for at, goal in enumerate(made.order)}
    for at, row in enumerate(golden.rows("goals")):
        goal = made.goals[at]
        product = golden.catalog.products[goal.asin]
        ours = {
            "goal": at,
            "asin": goal.asin,
            "category": goal.category,
            "query": goal.query,
            "name": goal.title,
            "product_category": goal.path,
            "instruction_text": goal.instruction,
            "attributes": list(goal.attributes),
            "price_upper": goal.price_limit,
            "goal_options": dict(goal.options),
            "weight": weights[at],
            "product_price": made.prices[product.asin],
            "price_candidates": list(limit_candidates(made.prices[product.asin])),
            "index_seed0": place[at],
        }
        count.check(f"goal {at}", ours, {key: row[key] for key in ours})


def check_goal_orders(golden: Golden, count: Count) -> None:
    products = tuple(golden.catalog.products.values())
    for row in golden.rows("goal_orders"):
        if row["kind"] == "seed":
            made = ReferenceGoals(products, row["seed"])
            ranged = {asin: made.prices[asin] for asin in row["product_prices"]}
            ours = [ranged, made.limits, made.order, made.rng.random()]
            theirs = [row["product_prices"], row["price_upper"], row["order"], row["next_random"]]
        else:
            product = golden.catalog.products[row["asin"]]
            goals = list(sampled_goals(product, "synthetic", row["price"], Random(0)))
            ours = [goals[0].price_limit, goals[0].instruction, len(goals)]
            theirs = [row["price_upper"], row["instruction_text"], row["n"]]
        count.check(f"{row['kind']} {row.get('seed', row.get('price'))}", ours, theirs)


def check_traces(golden: Golden, count: Count) -> None:
    shops = {
        show: ReferenceShop(golden.catalog, golden.nouns, show_attributes=show, search_backend=golden.backend)
        for show in (False, True)
    }
    for row in golden.rows("traces"):
        shop = shops[row["show_attrs"]]
        text = shop.reset(row["session"], row["random_seed"])
        name = f"episode {row['episode']} ({row['kind']})"
        count.check(f"{name} reset", [text, _available(shop)], [row["reset"]["obs"], row["reset"]["avail"]])
        for number, step in enumerate(row["steps"]):
            bought_for = shop.goal
            result = shop.step(step["action"])
            visit = shop.session
            state = {"asin": visit.asin, "options": visit.options, "page": visit.number}
            theirs: Row = {"avail": step["avail"]}
            ours: Row = {"avail": _available(shop)}
            if not step.get("done"):
                ours |= {"state": state, "page": visit.kind}
                theirs |= {"state": step["state"], "page": step["page"]}
            if "error" in step:
                ours |= {"error": result.error}
                theirs |= {"error": (step["error"], step["message"])}
            else:
                ours |= {"obs": result.observation, "reward": result.reward, "done": result.done}
                theirs |= {key: step[key] for key in ("obs", "reward", "done")}
            if step.get("done"):
                assert result.score is not None
                ours |= {"score": _terms(result.score, bought_for, step["score"]), "bought": result.bought}
                ours |= {"next": result.next_goal is not None and shop.goals.order[result.next_goal]}
                theirs |= {"score": step["score"], "next": step["auto_reset"]["goal"]}
                theirs["bought"] = (step["bought"]["asin"], step["bought"]["options"])
            if not count.check(f"{name} step {number} {step['action']!r}", ours, theirs):
                differ = [key for key in ours if ours[key] != theirs[key]]
                count.differences[-1] = f"{name} step {number} {step['action']!r}: {_first(ours, theirs, differ)}"


def check_rewards(golden: Golden, count: Count) -> None:
    goals = golden.catalog.reference_goals("synthetic", 0).goals
    for row in golden.rows("rewards"):
        goal = goals[row["goal"]]
        if row["goal_options_form"] == "list":
            goal = _as_human(goal)
        product = golden.catalog.products[row["asin"]]
        score = score_purchase(product, goal, row["price"], row["options"], golden.nouns, compat=True)
        ours = _terms(score, goal, row)
        ours |= {"total": score.total, "n_att": score.attributes_matched, "n_option": score.options_matched}
        if score.type_factor == 1.0:
            ours["without_type"] = score.total
        count.check(f"row {row['row']} ({row['kind']})", ours, {key: row[key] for key in ours})


def check_search(golden: Golden, count: Count) -> None:
    index = golden.catalog.shelf(golden.backend).index
    for row in golden.rows("search"):
        hits = index.search(" ".join(row["keywords"]), SEARCH_HITS)
        if not count.check(f"{row['query']!r}", [hit.id for hit in hits], [asin for asin, _ in row["hits"]]):
            continue
        off = max((abs(hit.score - score) for hit, (_, score) in zip(hits, row["hits"], strict=True)), default=0)
        count.check(f"scores of {row['query']!r}", off < SCORE_TOLERANCE, True)


def check_analysis(golden: Golden, count: Count) -> None:
    for row in golden.rows("analysis"):
        text = row["text"] if "text" in row else golden.catalog.products[row["id"]].search_text
        count.check(f"{row.get('id', row.get('text'))!r:.40}", terms(text), row["tokens"])


def check_units(golden: Golden, count: Count) -> None:
    for row in golden.rows("units"):
        unit, given, theirs = row["unit"], row["input"], row["output"]
        if unit == "parse_action":
            count.check(f"parse_action {given!r}", list(split_action(given)), theirs)
        elif unit == "normalize_color" and isinstance(given, str):
            count.check(f"normalize_color {given!r}", color_within(given), theirs)
        elif unit == "normalize_color":
            color = color_of_pair(*given)
            count.check(f"normalize_color {given!r}", given if color is None else color, theirs)
        elif unit == "token_set_ratio":
            first, second = (str(tuple(part)) if isinstance(part, list) else part for part in given)
            ours = token_set_ratio(first, second)
            count.check(f"token_set_ratio {given!r}", ours, row["other_thefuzz"])
            if (theirs > 85) == (row["other_thefuzz"] > 85):
                count.check(f"token_set_ratio above 85 {given!r}", ours > 85, theirs > 85)
            else:
                count.skipped["the two recorded versions of thefuzz decide differently; ours is the newer"] += 1
        elif unit == "product":
            product = golden.catalog.products[given]
            ours_product = {
                "Price": product.price_tag,
                "pricing": list(product.prices),
                "options": {name: list(values) for name, values in product.options.items()},
                "BulletPoints": list(product.bullets),
            }
            count.check(f"product {given}", {key: ours_product[key] for key in theirs}, theirs)
        else:
            count.skipped[f"{unit}: the reference prompt's parser, which our prompts replace"] += 1


CHECKS: dict[str, Callable[[Golden, Count], None]] = {
    "goals": check_goals,
    "goal_orders": check_goal_orders,
    "units": check_units,
    "analysis": check_analysis,
    "search": check_search,
    "rewards": check_rewards,
    "traces": check_traces,
}


def compare(data: Path, backend: str = "auto") -> dict[str, Count]:
    """All checks."""
    golden = Golden(data, backend)
    counts = {name: Count() for name in CHECKS}
    for name, check in CHECKS.items():
        check(golden, counts[name])
    return counts


def _available(shop: ReferenceShop) -> Row:
    return {"has_search_bar": shop.page.has_search, "clickables": list(shop.session.clickables)}


def _terms(score: Score, goal: Goal, recorded: Row) -> Row:
    """Our terms under the recording's names, those that it has."""
    wanted = len(goal.attributes) + len(goal.options) + 1
    ours = {
        "r_type": score.type_factor,
        "r_att": score.attributes,
        "r_option": score.options,
        "r_price": score.price,
        "query_match": score.query_match,
        "category_match": score.category_match,
        "title_score": score.title_score,
        "w_att": len(goal.attributes) / wanted,
        "w_option": len(goal.options) / wanted if goal.options else None,
        "w_price": 1 / wanted,
    }
    return {key: value for key, value in ours.items() if key in recorded}


def _as_human(goal: Goal) -> Goal:
    return replace(goal, options=tuple(("", value) for _, value in goal.options))


def _first(ours: Row, theirs: Row, keys: list[str]) -> str:
    key = keys[0]
    one, two = str(ours[key]), str(theirs[key])
    at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    return f"{keys} {one[max(0, at - 40) : at + 60]!r} | {two[max(0, at - 40) : at + 60]!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("SDAR_GYM_DATA", "")) / "webshop"
    parser.add_argument("data", nargs="?", type=Path, default=default)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=int, default=5, help="differences to print per file")
    arguments = parser.parse_args()
    if not (arguments.data / "golden").is_dir():
        sys.exit(f"{arguments.data} has no folder golden/; name the data folder or set SDAR_GYM_DATA.")
    counts = compare(arguments.data, arguments.backend)
    console = Console()
    table = Table("recording", "compared", "equal", "skipped")
    for name, count in counts.items():
        table.add_row(name, str(count.compared), str(count.equal), str(sum(count.skipped.values())))
    console.print(table)
    for name, count in counts.items():
        for line in count.differences[: arguments.show]:
            console.print(f"{name}: {line}", style="red", markup=False, highlight=False)
        for reason, number in count.skipped.items():
            console.print(f"{name}: {number} skipped: {reason}", markup=False, highlight=False)
    if arguments.json:
        report = {
            "backend": arguments.backend,
            "machine": f"{platform.machine()} {platform.system()}, Python {platform.python_version()}",
            "files": {
                name: {
                    "compared": count.compared,
                    "equal": count.equal,
                    "skipped": dict(count.skipped),
                    "differences": count.differences[:50],
                }
                for name, count in counts.items()
            },
        }
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.exit(any(count.compared != count.equal for count in counts.values()))


if __name__ == "__main__":
    main()
