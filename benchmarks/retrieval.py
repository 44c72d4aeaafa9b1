"""Rate of the cluster's search actor: searches a second with 1, 2 and 4 clients, and the time until it is back.

    python benchmarks/retrieval.py [--passages 20000] [--searches 400]

Clients are Ray actors, as env runners are. Writes `benchmarks/results/retrieval.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

RESULTS = Path(__file__).parent / "results" / "retrieval.json"
CLIENTS = (1, 2, 4)
WORDS, LENGTH, ASKED = 20_000, 80, 4


def write_corpus(path: Path, passages: int) -> None:
    """Passages of words with the frequencies of a language (Zipf)."""
    rng = random.Random(0)
    names = [f"w{number}" for number in range(WORDS)]
    weights = [1 / (number + 10) for number in range(WORDS)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(passages):
            text = " ".join(rng.choices(names, weights, k=LENGTH))
            file.write(json.dumps({"id": str(number), "contents": f"title {number}\n{text}"}) + "\n")


def queries(seed: int, count: int) -> list[str]:
    """Queries of rarer words."""
    rng = random.Random(seed)
    return [" ".join(f"w{rng.randrange(100, WORDS)}" for _ in range(ASKED)) for _ in range(count)]


def asked(search: Any, texts: list[str]) -> list[float]:
    """Seconds of each search."""
    found = []
    for text in texts:
        began = time.perf_counter()
        search.search(text, 3)
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--searches", type=int, default=400)
    arguments = parser.parse_args()
    import ray

    from sdar_gym.envs.searchqa.actor import NAMESPACE, ActorSearch
    from sdar_gym.envs.searchqa.local_index import local_index

    result: dict[str, Any] = {
        "command": f"python benchmarks/retrieval.py --passages {arguments.passages} --searches {arguments.searches}",
        "passages": arguments.passages,
        "searches_each": arguments.searches,
    }

    class Client:
        """A process that searches, as an env runner does."""

        def __init__(self, corpus: str):
            self._search = ActorSearch(corpus)
            self._search.search("w100", 3)

        def ask(self, seed: int, count: int) -> list[float]:
            return asked(self._search, queries(seed, count))

    with tempfile.TemporaryDirectory() as place:
        corpus = str(Path(place) / "corpus.jsonl")
        write_corpus(Path(corpus), arguments.passages)
        ray.init(address="local", num_cpus=6, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            began = time.perf_counter()
            first = ActorSearch(corpus, timeout=120)
            first.search("w100", 3)
            result["first_search_seconds"] = time.perf_counter() - began
            clients = [ray.remote(Client).options(num_cpus=1).remote(corpus) for _ in range(max(CLIENTS))]
            ray.get([client.ask.remote(9, 5) for client in clients])
            result["clients"] = {}
            for count in CLIENTS:
                began = time.perf_counter()
                seconds = ray.get(
                    [client.ask.remote(seed, arguments.searches) for seed, client in enumerate(clients[:count])]
                )
                wall = time.perf_counter() - began
                each = sorted(second for part in seconds for second in part)
                result["clients"][count] = {
                    "searches_a_second": len(each) / wall,
                    "median_ms": 1e3 * statistics.median(each),
                    "slowest_of_100_ms": 1e3 * each[int(0.99 * len(each))],
                }
                print(count, result["clients"][count], flush=True)
            ray.kill(ray.get_actor(first.name, namespace=NAMESPACE))
            began = time.perf_counter()
            first.search("w100", 3)
            result["seconds_until_it_is_back"] = time.perf_counter() - began
        finally:
            ray.shutdown()
        index = local_index(corpus)
        index.search("w100", 3)
        seconds = asked(index, queries(0, arguments.searches))
        result["in_one_process"] = {"searches_a_second": 1 / statistics.mean(seconds)}
    result["machine"] = machine("ray", "bm25s")
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
