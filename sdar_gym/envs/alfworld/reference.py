"""ALFWorld's own engine with the face of ours, so that the two can be stepped side by side and told apart.

Only for checks: it is a thousandfold slower than the native engine, and it passes expressions of the game file's
grammar to Python's `eval`. Never open a game file with it that you would not run as a program.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.export import to_tw_pddl
from sdar_gym.envs.alfworld.game_source import GAME_FILE, decoded, read_bounded
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.world import Game
from sdar_gym.extras import require

# TextWorld's parser and the planner's translator are module-level objects.
_LOCK = threading.Lock()
# Upstream environments of closed engines, to be used again: each new one copies and loads the planner once more, and
# unloading it crashes Python at exit.
_IDLE: list[Any] = []


class ReferenceEngine:
    """One running game on ALFWorld's stack: TextWorld's `PddlEnv` with ALFWorld's names for things.

    What the stack does to its caller and this class undoes: it overwrites `sys.argv`, importing it sets
    `ALFWORLD_DATA`, and it warns about its own code. What remains: TextWorld is not thread-safe (calls made through
    this class wait for each other; use processes to run several at once), the first import makes `~/.cache/alfworld`,
    and as many engines as are open at once each copy a planner of 34 MB into the temporary folder, which must allow
    programs. Close an engine, and the next one takes its planner over.

    Args:
        game: A `.tw-pddl` file, its text, or a game, which is then written as one.

    Raises:
        MissingExtraError: `alfworld` or `textworld` is not installed.
        FileNotFoundError: There is no such file.
        GameFormatError: The file is too large for a game, or not UTF-8.
    """

    def __init__(self, game: str | os.PathLike[str] | Game):
        require("alfworld", "ALFWorld's reference engine")
        self._content = _text(game)
        self._commands: list[str] = []
        fields = json.loads(self._content)
        self._env: Any = _IDLE.pop() if _IDLE else _new_environment()
        with _contained():
            self._env.load(fields)
        self._state: Any = None
        self._intro = ""
        self.reset()

    def reset(self) -> None:
        """Go back to the start of the game, without loading it again."""
        with _contained():
            self._state = self._opened().reset()
        self._intro = self._state["feedback"]
        self._commands.clear()

    def intro(self) -> str:
        """The first observation."""
        return self._intro

    def admissible(self) -> tuple[str, ...]:
        """All commands that are admissible now, in plain string order."""
        return tuple(self._state["admissible_commands"])

    def act(self, command: str) -> tuple[str, bool]:
        """Carry out one command.

        Args:
            command: Any text.

        Returns:
            The world's answer, and whether the command was admissible.
        """
        admissible = command.strip() in self._state["admissible_commands"]
        self._commands.append(command)
        with _contained():
            self._state, _, _ = self._opened().step(command)
        return self._state["feedback"], admissible

    @property
    def won(self) -> bool:
        """Whether the goal holds in the present state."""
        return bool(self._state["won"])

    def close(self) -> None:
        """Leave the planner to the next engine; closing twice is fine."""
        if self._env is not None:
            _IDLE.append(self._env)
        self._env = None

    def __reduce__(self) -> Any:
        # The planner cannot be copied; the receiving process plays the game up to here once more.
        return _replayed, (self._content, tuple(self._commands))

    def _opened(self) -> Any:
        if self._env is None:
            raise ValueError("This reference engine is closed; make a new one.")
        return self._env


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the two engines did not agree on.

    Attributes:
        step: How many commands were carried out; 0 is the start of the game.
        command: The last of them; None at the start.
        what: `observation`, `valid`, `admissible` or `won`.
        native: What our engine says.
        reference: What ALFWorld's says.
    """

    step: int
    command: str | None
    what: str
    native: Any
    reference: Any


class View(NamedTuple):
    """All that an engine shows after a command: what two engines have to agree on."""

    observation: str
    valid: bool
    admissible: tuple[str, ...]
    won: bool


def views(engine: Engine | ReferenceEngine, commands: Sequence[str]) -> list[View]:
    """What an engine shows at the start of its game and after each command."""
    found = [View(engine.intro(), True, engine.admissible(), engine.won)]
    for command in commands:
        found.append(View(*engine.act(command), engine.admissible(), engine.won))
    return found


def differences(native: Sequence[View], reference: Sequence[View], commands: Sequence[str]) -> list[Difference]:
    """Where two engines that carried out the same commands do not agree."""
    return [
        Difference(step, commands[step - 1] if step else None, what, getattr(ours, what), getattr(theirs, what))
        for step, (ours, theirs) in enumerate(zip(native, reference, strict=True))
        for what in View._fields
        if getattr(ours, what) != getattr(theirs, what)
    ]


def compare(game: str | os.PathLike[str] | Game, commands: Sequence[str]) -> list[Difference]:
    """Play one game on both engines and compare observation, admissible commands and `won` at the start and each step.

    Args:
        game: A `.tw-pddl` file that you trust, or a game.
        commands: What to do; commands that are not admissible are compared too.

    Returns:
        All differences; after the first the two worlds may no longer be in the same state.

    Raises:
        MissingExtraError: `alfworld` or `textworld` is not installed.
        GameFormatError: The file cannot be read.
    """
    native = Engine(game if isinstance(game, Game) else load_file(game))
    with closing(ReferenceEngine(game)) as reference:
        return differences(views(native, commands), views(reference, commands), commands)


def load_file(path: str | os.PathLike[str]) -> Game:
    """Read one `.tw-pddl` file; the task id is made from the folders it lies in.

    Raises:
        FileNotFoundError: There is no such file.
        GameFormatError: It cannot be read.
    """
    file = Path(path).resolve()
    return parse_game(_content(file), "/".join(file.parts[-4:-1]), str(file))


def record_commands(game: Game, count: int, seed: int, *, walk: bool = True) -> tuple[str, ...]:
    """A sequence that visits much of a game: its walkthrough, then random admissible commands.

    Args:
        game: The game, played on our engine to know what is admissible.
        count: How many commands; the walkthrough is cut if it is longer.
        seed: Seeds the random ones.
        walk: Whether the walkthrough comes first.
    """
    rng, engine = Random(seed), Engine(game)
    commands: list[str] = []
    while len(commands) < count:
        choices = engine.admissible()
        position = len(commands)
        walking = walk and position < len(game.walkthrough)
        command = game.walkthrough[position] if walking else choices[int(rng.random() * len(choices))]
        engine.act(command)
        commands.append(command)
    return tuple(commands)


def _text(game: str | os.PathLike[str] | Game) -> str:
    if isinstance(game, Game):
        return to_tw_pddl(game)
    # A file's text begins with a brace, which no path of a game does.
    if isinstance(game, str) and game.lstrip().startswith("{"):
        return game
    return decoded(_content(Path(game)), str(game))


def _content(file: Path) -> bytes:
    with file.open("rb") as stream:
        return read_bounded(stream, GAME_FILE, str(file))


def _replayed(content: str, commands: tuple[str, ...]) -> ReferenceEngine:
    engine = ReferenceEngine(content)
    for command in commands:
        engine.act(command)
    return engine


def _new_environment() -> Any:
    with _contained():
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler  # pyright: ignore[reportMissingImports]
        from textworld import EnvInfos  # pyright: ignore[reportMissingImports]
        from textworld.envs import PddlEnv  # pyright: ignore[reportMissingImports]

        infos = EnvInfos(feedback=True, admissible_commands=True, won=True)
        return AlfredDemangler(PddlEnv(infos), shuffle=False)


@contextmanager
def _contained() -> Iterator[None]:
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments, data = sys.argv, os.environ.get("ALFWORLD_DATA")
        try:
            yield
        finally:
            sys.argv = arguments
            if data is None:
                # Left set, it would turn the default of our own environment from generated games to an empty folder.
                os.environ.pop("ALFWORLD_DATA", None)
