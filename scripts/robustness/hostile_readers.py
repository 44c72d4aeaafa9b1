"""Robustness test of parsers: hostile texts and damaged files, which must be read or refused with a clear message.

    python scripts/robustness/hostile_readers.py --rounds 2000

Readers of text may return anything but must not raise. Readers of files may raise `ValueError` (or a subclass) with a
printable message. Any other exception, and a call of more than ten seconds, is printed and counted. Exit status 1 if
there is any.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sdar_gym.configs import load_config
from sdar_gym.envs.prompting import EpisodeView, PastTurn, prompt_template, skill_context
from sdar_gym.envs.registry import entries, load_object
from sdar_gym.envs.searchqa.text import read_call
from sdar_gym.envs.tasks import load_panel
from sdar_gym.skills import load_library

SLOWEST_S = 10.0
PIECES = (
    *("<action>", "</action>", "<think>", "</think>", "<search>", "</search>", "<answer>", "</answer>"),
    *("search[", "click[", "]", "[", "{", "}", '"', "'", ":", ",", "\n", "\r", "\x00", "\x1b[2J", "\ud800", "\u202e"),
    *("null", "true", "1e999", "-1", "9" * 400, "&a [*a]", "!!python/object:os.system", "- ", "# ", "## a.b: T\n"),
    *("go to desk 1", "ü", "😀", " " * 50, "a" * 1000, "\\", "%s", "{{ x }}", "$x$", "task_ids", "env_id", "question"),
)


def text(draws: random.Random, longest: int = 60) -> str:
    """A random text of pieces with a meaning for some reader."""
    return "".join(draws.choice(PIECES) for _ in range(draws.randint(0, longest)))


def damaged(draws: random.Random, content: bytes) -> bytes:
    """A valid file with damage: truncated, a byte changed, deeply nested, or hostile text inserted."""
    kind = draws.randrange(5)
    if not content or kind == 0:
        return content[: draws.randint(0, len(content))]
    place = draws.randrange(len(content))
    if kind == 1:
        return content[:place] + bytes([draws.randrange(256)]) + content[place + 1 :]
    if kind == 2:
        return draws.choice([b"[", b'{"a":']) * 20_000
    inserted = text(draws, 8).encode("utf-8", "surrogatepass")
    return content[:place] + inserted + content[place + draws.randint(0, 20) :]


def outcome_of(name: str, call: Callable[[], Any], *, may_refuse: bool) -> str:
    """Outcome of a call: `read`, `refused`, or a description of the fault."""
    started = time.perf_counter()
    try:
        call()
        result = "read"
    except ValueError as error:
        message = str(error)
        result = "refused" if may_refuse else f"{name}: {type(error).__name__}: {message[:200]!r}"
        if may_refuse and (not message.strip() or "\x1b" in message or isinstance(error, UnicodeError)):
            result = f"{name}: not a message for a user: {type(error).__name__}: {message[:200]!r}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        result = f"{name}: {type(error).__name__}: {str(error)[:200]!r} ({where.filename}:{where.lineno})"
    if time.perf_counter() - started > SLOWEST_S:
        result = f"{name}: took {time.perf_counter() - started:.0f} s"
    return result


def readers_of_text(draws: random.Random) -> dict[str, Callable[[], Any]]:
    """Readers of text of models and environments: each environment's prompts, made from hostile texts, and parsers."""
    response, think = text(draws), draws.random() < 0.5
    view = EpisodeView(text(draws, 5), (PastTurn(text(draws, 9), response),), text(draws, 9), (text(draws, 3),))
    privileged = skill_context(text(draws, 3))
    readers: dict[str, Callable[[], Any]] = {"read_call": lambda: read_call(response)}
    for entry in entries():
        for name in load_object(entry.prompt, "The prompt templates"):
            one = prompt_template(entry.id, name)
            readers[f"{entry.id}, {name}, prompt"] = lambda one=one: one.messages(
                view, window=2, think=think, privileged=privileged
            )
            readers[f"{entry.id}, {name}, response"] = lambda one=one: one.parse(response, think=think)
    return readers


def readers_of_files(good: dict[str, tuple[str, bytes, Callable[[Path], Any]]], draws: random.Random, folder: Path):
    """Readers of files, each with a damaged file."""
    for name, (file, content, read) in good.items():
        raw = gzip.decompress(content) if file.endswith(".gz") else content
        bad = damaged(draws, raw)
        if file.endswith(".gz"):
            bad = gzip.compress(bad) if draws.random() < 0.5 else damaged(draws, content)
        path = folder / file
        path.write_bytes(bad)
        yield name, lambda read=read, path=path: read(path)


def good_files(folder: Path) -> dict[str, tuple[str, bytes, Callable[[Path], Any]]]:
    """A valid file for each reader, and the call that reads it."""
    from importlib.resources import files

    import gymnasium

    import sdar_gym  # noqa: F401  registers the environments
    from sdar_gym.envs.tasks import freeze_panel

    panel = folder / "good.json"
    freeze_panel("p", "sdar/ALFWorld-v0", ["small/train/000000", "small/train/000001"], 2).save(panel)
    questions = b'{"id": "a", "question": "Who?", "golden_answers": ["York"]}\n' * 3
    corpus = b'{"id": "p1", "contents": "Title\\nText of a passage."}\n'
    (folder / "passages.jsonl").write_bytes(corpus)
    entry = {"skill_id": "GEN_1", "title": "T", "principle": "Do.", "when_to_apply": "now"}
    bank = json.dumps({"general_skills": [entry], "task_specific_skills": {}}).encode()
    yaml = files("sdar_gym.configs").joinpath("quickstart.yaml").read_bytes()
    skills = files("sdar_gym.skills").joinpath("data", "alfworld", "general.md").read_bytes()

    def searchqa(path: Path) -> None:
        gymnasium.make(
            "sdar/SearchQA-v0", questions=str(path), corpus=str(folder / "passages.jsonl"), holdout=0.0
        ).reset()

    def passages(path: Path) -> None:
        good = folder / "train.jsonl"
        good.write_bytes(questions)
        gymnasium.make("sdar/SearchQA-v0", questions=str(good), corpus=str(path)).reset()

    return {
        "panel": ("panel.json", panel.read_bytes(), load_panel),
        "configuration": ("run.yaml", yaml, lambda path: load_config(str(path))),
        "skill library": ("lib/general.md", skills, lambda path: load_library(str(path.parent))),
        "skill bank": ("bank.json", bank, lambda path: load_library(str(path))),
        "questions": ("q/train.jsonl", questions, searchqa),
        "questions, gzip": ("qz/train.jsonl.gz", gzip.compress(questions), searchqa),
        "passages": ("p.jsonl", corpus, passages),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read everything, print the counts, and return the exit status.

    Args:
        arguments: Of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    draws = random.Random(options.seed)
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="sdar-gym-hostile-") as place:
        folder = Path(place)
        for name in ("lib", "q", "qz"):
            (folder / name).mkdir()
        good = good_files(folder)
        for name, (file, content, read) in good.items():
            (folder / file).write_bytes(content)
            outcome = outcome_of(name, lambda read=read, path=folder / file: read(path), may_refuse=False)
            if outcome != "read":
                print(f"the valid file of {name} is not read: {outcome}", file=sys.stderr)
        for _ in range(options.rounds):
            for name, call in readers_of_text(draws).items():
                outcome = outcome_of(name, call, may_refuse=False)
                counts[outcome if outcome in ("read", "refused") else "wrong"] += 1
                wrong[outcome] += outcome not in ("read", "refused")
            for name, call in readers_of_files(good, draws, folder):
                outcome = outcome_of(name, call, may_refuse=True)
                counts[outcome if outcome in ("read", "refused") else "wrong"] += 1
                wrong[outcome] += outcome not in ("read", "refused")
    for outcome, times in wrong.most_common(20):
        if times:
            print(f"{times} x {outcome}")
    total = sum(counts.values())
    read, refused = counts["read"], counts["refused"]
    print(f"{read + refused} of {total} read or refused with a clear message ({read} read, {refused} refused)")
    return int(bool(counts["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
