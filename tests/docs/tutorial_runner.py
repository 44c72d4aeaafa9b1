"""Runner of the tutorials: every code block of a page, in order, in one folder, as a reader would.

- A block of `bash` runs in a shell, one of `python` in an interpreter of its own. Both must end with exit status 0.
- A block with a `title` (```python title="my_gates.py") is written to that file.
- Blocks of other languages or of none show what comes out and are not run; neither is one after `<!-- skip: next -->`.

sybil finds the blocks and handles the comments; `fast` is a name in their conditions: `<!-- skip: next if(fast) -->`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import SkipTest

from sybil import Document, Example, Region
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
RUNNING = ("bash", "python")
_INFO = re.compile(r"(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?[ ]*\n")
# Each command runs the package of this checkout and of this interpreter. As for an installed script, -P keeps the
# folder that it is called in off the path.
_COMMANDS = {"sdar-gym": "sdar_gym", "pip": "pip", "pytest": "pytest"}


@dataclass
class TutorialRun:
    """One pass over a page.

    Args:
        folder: Where the blocks run.
        environment: Variables of their processes.
        fast: Whether the blocks that train or install are left out.
        change: Changes a block's text before it runs, such as a port.
    """

    folder: Path
    environment: Mapping[str, str]
    fast: bool = False
    change: Callable[[str], str] = str
    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def page(self, path: Path) -> None:
        """Run a page.

        Raises:
            AssertionError: A block failed; page, line, block and output are named.
        """
        document = Document.parse(str(path), SkipParser(), self._blocks)
        document.namespace["fast"] = self.fast
        for example in document.examples():
            before = len(self.ran)
            with contextlib.suppress(SkipTest):
                example.evaluate()
            if isinstance(example.parsed, tuple) and len(example.parsed) == 3 and len(self.ran) == before:
                self.skipped.append(example.parsed[2])

    def _blocks(self, document: Document) -> Iterable[Region]:
        for region in RawFencedCodeBlockLexer(_INFO)(document):
            language, title = region.lexemes["language"], region.lexemes["title"]
            if title or language in RUNNING:
                region.parsed = (language, title, str(region.lexemes["source"]))
                region.evaluator = self._run
                yield region

    def _run(self, example: Example) -> None:
        language, title, source = example.parsed
        source = self.change(source)
        self.ran.append(source)
        if title:
            path = self.folder / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
            return
        program = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [self.environment["PYTHON"], "-c"]
        done = subprocess.run(
            [*program, source],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        place = f"{Path(example.path).name}, line {example.line}"
        assert done.returncode == 0, f"{place} ended with {done.returncode}:\n{source}\n{done.stdout[-4000:]}"


def shell_environment(folder: Path, commands: Mapping[str, str] | None = None) -> dict[str, str]:
    """A virtual environment that has this interpreter's packages, so that a block may install into it.

    Args:
        folder: Where it is made.
        commands: Text of further scripts by name.

    Returns:
        Environment variables with its commands on PATH, and its interpreter as PYTHON.
    """
    venv.create(folder, with_pip=False)
    scripts = Path(sysconfig.get_path("scripts", "venv", {"base": str(folder)}))
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (packages / "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    python = scripts / "python"
    own = {name: f'exec "{python}" -P -m {module} "$@"' for name, module in _COMMANDS.items()}
    for name, text in {**own, **(commands or {})}.items():
        (scripts / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (scripts / name).chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SDAR_GYM", "PYTEST"))}
    return kept | {
        "PYTHON": str(python),
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]),
        # What is installed satisfies everything: nothing is asked of the network.
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
        "VIRTUAL_ENV": str(folder),
        "BASE_PYTHON": sys.executable,
    }
