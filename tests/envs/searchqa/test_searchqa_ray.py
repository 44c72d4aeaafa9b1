"""The Ray search actor: one per cluster, used from other processes, and restarted when it dies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.searchqa.actor import NAMESPACE, ActorSearch
from sdar_gym.envs.searchqa.search_contract import SearchFailedError

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray instance for this module."""
    ray = pytest.importorskip("ray")
    ray.shutdown()  # An instance left by another test module.
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": f"p{row}", "contents": f"word{row} common"}) + "\n" for row in range(50)))
    return str(path)


def test_environments_of_other_processes_ask_the_same_actor(ray: Any) -> None:
    @ray.remote
    def play(seed: int) -> tuple[str, str]:
        # The id contains the package, which the worker has not imported.
        env = gymnasium.make("sdar_gym:sdar/SearchQA-v0", search="ray").unwrapped
        env.reset(seed=seed)
        observation = env.step("<search>river</search>")[0]
        return observation, env._retriever._actor._actor_id.hex()

    local = gymnasium.make("sdar/SearchQA-v0").unwrapped
    local.reset(seed=0)
    wanted = local.step("<search>river</search>")[0]
    here = gymnasium.make("sdar/SearchQA-v0", search="ray").unwrapped
    here.reset(seed=0)
    assert here.step("<search>river</search>")[0] == wanted
    found = ray.get([play.remote(seed) for seed in range(2)])
    assert {observation for observation, _ in found} == {wanted}
    assert {actor for _, actor in found} == {here._retriever._actor._actor_id.hex()}


def test_an_actor_that_died_is_started_again(ray: Any, corpus: str) -> None:
    retriever = ActorSearch(corpus, retries=3)
    assert [found.id for found in retriever.search("word7", 3)] == ["p7"]
    assert retriever.info()["passages"] == 50
    ray.kill(ray.get_actor(retriever.name, namespace=NAMESPACE))
    assert [found.id for found in retriever.search("word8", 3)] == ["p8"]


def killed(ray: Any, actor: Any) -> Any:
    """The actor, as soon as it is dead: `ray.kill` does not wait for that."""
    ray.kill(actor)
    with pytest.raises(ray.exceptions.RayActorError):
        for _ in range(100):
            ray.get(actor.info.remote(), timeout=60)
            time.sleep(0.1)
    return actor


def test_an_actor_whose_restart_takes_longer_than_the_retries_is_waited_for(
    ray: Any, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = ActorSearch(corpus, retries=0)
    retriever.search("word7", 3)
    dead = killed(ray, ray.get_actor(retriever.name, namespace=NAMESPACE))
    find, found = retriever._find, [dead, dead, dead]
    monkeypatch.setattr(retriever, "_find", lambda: found.pop() if found else find())
    assert [passage.id for passage in retriever.search("word8", 3)] == ["p8"]
    assert not found


def test_an_actor_that_stays_dead_is_an_error_in_bounded_time(
    ray: Any, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = ActorSearch(corpus, timeout=0.1)
    dead = killed(ray, retriever._find())
    monkeypatch.setattr(retriever, "_find", lambda: dead)
    with pytest.raises(SearchFailedError, match="did not come back in 1 s"):
        retriever.search("word", 3)


def test_a_corpus_that_the_actor_cannot_open_is_an_error(ray: Any, tmp_path: Path) -> None:
    retriever = ActorSearch(str(tmp_path / "none.jsonl"), retries=1)
    with pytest.raises(SearchFailedError, match=r"cannot start: .*no passage corpus"):
        retriever.search("word", 3)


def test_what_is_checked_before_a_run_asks_the_actor(ray: Any, corpus: str, tmp_path: Path) -> None:
    questions = tmp_path / "train.jsonl"
    questions.write_text('{"question": "word7?", "answer": "a"}\n')
    env = gymnasium.make("sdar/SearchQA-v0", questions=questions, corpus=corpus, search="ray").unwrapped
    env.check_ready()
    assert ray.get_actor(ActorSearch(corpus).name, namespace=NAMESPACE) is not None
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text('{"contents": "a"}\n{"contents": 5}\n')
    env = gymnasium.make("sdar/SearchQA-v0", questions=questions, corpus=damaged, search="ray").unwrapped
    with pytest.raises(ValueError, match=r"cannot start: .*CorpusError.*row 2: `contents` must be a text") as caught:
        env.check_ready()
    assert "Traceback" not in str(caught.value)
