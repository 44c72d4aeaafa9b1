"""Parity on real products, recordings of the official environment and human sessions; skipped without the data."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from human_sessions import HumanSession, read_sessions

from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.expert import Expert
from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.session import Session

pytestmark = pytest.mark.data
REAL = Path(__file__).parents[3] / "benchmarks" / "webshop_golden.py"


@pytest.fixture(scope="module")
def golden_counts(data_dir: Callable[[str], Path]) -> dict[str, Any]:
    folder = data_dir("webshop")
    if not (folder / "golden").is_dir():
        pytest.skip(f"no recordings in {folder / 'golden'}")
    spec = importlib.util.spec_from_file_location("webshop_golden", REAL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.compare(folder)


@pytest.mark.parametrize(
    ("name", "at_least"),
    [
        ("goals", 500),
        ("goal_orders", 20),
        ("units", 1000),
        ("analysis", 40),
        ("search", 200),
        ("rewards", 1000),
        ("traces", 1000),
    ],
)
def test_recordings_are_reproduced(golden_counts: dict[str, Any], name: str, at_least: int) -> None:
    count = golden_counts[name]
    assert count.differences == []
    assert count.compared == count.equal >= at_least


def play(env: WebShopEnv, task_id: str) -> dict[str, Any]:
    expert = Expert()
    observation, info = env.reset(options={"task_id": task_id})
    expert.begin(env, observation, info)
    while True:
        observation, _, terminated, truncated, info = env.step(expert.act(observation, info))
        if terminated or truncated:
            return info


def test_the_expert_solves_the_real_goals(data_dir: Callable[[str], Path]) -> None:
    env = WebShopEnv(data_dir("webshop"))
    tasks = [task_id for split in env.splits for task_id in env.task_ids(split)]
    won = [play(env, task_id)["won"] for task_id in tasks]
    assert len(tasks) > 400
    assert sum(won) / len(won) >= 0.95


def test_real_human_goals_are_played(data_dir: Callable[[str], Path]) -> None:
    shop = WebShopEnv(data_dir("webshop"), goals="human", split="test")
    task_ids = [task_id for split in shop.splits for task_id in shop.task_ids(split)]
    assert task_ids
    assert all(play(shop, task_id)["score"] > 0.5 for task_id in task_ids)


@dataclass
class RecordedShelf:
    """A shelf with the recorded search results of the site."""

    recorded: HumanSession
    products: dict[str, Product] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def search(self, query: str, k: int) -> tuple[str, ...]:
        hits: list[str] = []
        for visit in self.recorded.visits:
            if visit.query.lower() == query and visit.found:
                first = (visit.number - 1) * 10
                hits += ["X"] * (first + len(visit.found) - len(hits))
                hits[first : first + len(visit.found)] = visit.found
        return tuple(hits)


def test_recorded_human_sessions_lead_through_the_same_pages(
    data_dir: Callable[[str], Path], make_product: Callable[..., Product]
) -> None:
    folder = data_dir("webshop") / "human_trajs"
    if not folder.is_dir():
        pytest.skip(f"no sessions of people in {folder}")
    sessions = list(read_sessions(folder))
    assert len(sessions) == 25
    pages = 0
    for recorded in sessions:
        shelf = RecordedShelf(recorded)
        for visit in recorded.visits:
            for asin in (*visit.found, visit.asin or "X", "X"):
                known = shelf.products[asin].options if asin in shelf.products else {}
                seen = dict(visit.options) if asin == visit.asin else {}
                options = {name: tuple({*known.get(name, ()), value}) for name, value in seen.items()}
                shelf.products[asin] = make_product(asin, options={**known, **options})
        session = Session(recorded.instruction, shelf)  # pyright: ignore[reportArgumentType]
        for actions, visit in zip(recorded.steps, recorded.visits[1:], strict=True):
            outcome = [session.act(action) for action in actions][-1]
            assert outcome == ("bought" if visit.kind == "done" else "done"), (recorded.name, actions)
            if visit.asin:
                assert session.asin == visit.asin
            # The options on the last page of the site are not always the chosen ones.
            if visit.kind != "done":
                assert session.kind == ("" if visit.kind == "index" else visit.kind)
                assert session.options == dict(visit.options)
            pages += 1
    assert pages > 200
