"""`sdar/ALFWorld-v0`: household tasks in the ALFRED text world, on a native engine."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from gymnasium.envs.registration import EnvSpec

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.game_source import SPLITS, GameSource, MissingGamesError, check_split
from sdar_gym.envs.alfworld.generator import GeneratedSource, task_type_of
from sdar_gym.envs.alfworld.reward import goal_conditions
from sdar_gym.envs.alfworld.sources import load_cached, open_source
from sdar_gym.envs.alfworld.world import TASK_TYPES, Game
from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn
from sdar_gym.extras import require
from sdar_gym.paths import local_path
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, text_list

if TYPE_CHECKING:
    from sdar_gym.envs.alfworld.reference import ReferenceEngine

# The word that stands for the generator where a path to real games could stand.
GENERATED = "generated"
_VARIABLE = "ALFWORLD_DATA"
GOALS = ("templated", "human")
BACKENDS = ("native", "textworld")
# One way to write a number, so that an episode has one id.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")


class ALFWorldEnv(TextEnv):
    """ALFWorld: household tasks in a text room.

    Task:
        Find things in a room, change them (heat, cool, clean), and put them somewhere; or look at one under a lamp.
        Six task types. The task sentence ends the first observation.

    Observation:
        The text the world shows, the same as ALFWorld 0.4.2 gives on TextWorld.

    Action:
        One command, such as `go to fridge 1` or `take apple 1 from fridge 1`. It has to match an admissible command to
        the letter; anything else answers "Nothing happens." and counts as a turn.

    Reward:
        `success_reward` when the goal is reached, else 0. Default 1, as ALFWorld's own.

    Episode end:
        Terminated when won; truncated after `max_steps` turns (50 as in the published runs).

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`, and
        `goal_condition_rate`: the share of ALFRED's goal conditions that hold now, 1 exactly when won (on the
        `textworld` backend, which does not show its state, 0 or 1).

    Splits:
        `train`, `valid_seen`, `valid_unseen`: the official folders of real games. Generated games have the same three:
        `valid_unseen` plays in floor plans that no train game has.

    Arguments:
        games: `"generated"`, or a folder or archive (zip or tar) of real games; by default `$ALFWORLD_DATA` if it is
            set, else generated games.
        split: The split that `reset()` draws from.
        task_types: Only these task types, or this one; default all six.
        scene: Size of generated rooms, `full` or `small`.
        max_steps: Turn limit.
        success_reward: Reward of winning.
        goals: `templated` for the task sentence of the game, `human` for one that a person wrote (from the
            `traj_data.json` beside a real game). Which one follows from the task id; `<task id>#2` asks for the third.
        backend: `native`, or `textworld` for ALFWorld's own engine (extra `alfworld`): a thousandfold slower, and it
            runs code that is in the game file. For checks.

    Differences from the reference:
        Only the engine: no planner, no expert plans in `info`. The grammar inside a game file is never evaluated.
        Human goals are taken as they were written, white space apart.

    Version history:
        v0: first release.
    """

    def __init__(
        self,
        games: str | os.PathLike[str] | None = None,
        split: str = "train",
        task_types: str | Sequence[str] | None = None,
        scene: str = "full",
        max_steps: int = 50,
        success_reward: float = 1.0,
        goals: Literal["templated", "human"] = "templated",
        backend: Literal["native", "textworld"] = "native",
        render_mode: str | None = None,
    ):
        super().__init__(max_steps, render_mode)
        self._made_with: EnvSpec | None = None
        kinds = frozenset(TASK_TYPES if task_types is None else text_list("task_types", task_types))
        unknown = sorted(kinds - set(TASK_TYPES))
        if unknown or not kinds:
            raise ValueError(
                f"Unknown ALFWorld task type(s) in task_types, {shortened(unknown)}; "
                f"choose from {', '.join(TASK_TYPES)}."
            )
        check_split(split)
        if goals not in GOALS:
            raise ValueError(f"Unknown goals {shortened(goals)}; choose one of {', '.join(GOALS)}.")
        if backend not in BACKENDS:
            raise ValueError(f"Unknown backend {shortened(backend)}; choose one of {', '.join(BACKENDS)}.")
        if backend == "textworld":
            require("alfworld", "The backend 'textworld'")
            if goals == "human":
                raise ValueError("The backend 'textworld' plays the game files as they are; goals='human' is native.")
        self._games = _located(games)
        self._source = game_source(games, scene)
        self._human_goals = goals == "human"
        self._backend = backend
        self._split = split
        self._task_types = kinds
        self._success_reward = finite_number("success_reward", success_reward)
        self._choices: dict[str, tuple[str, ...]] = {}
        self._game: Game | None = None
        self._engine: Engine | ReferenceEngine | None = None
        self.task_ids(split)  # An empty split is refused here rather than at the first reset.

    @property
    def game(self) -> Game:
        """The game of the running episode.

        Raises:
            ValueError: There is none.
        """
        if self._game is None:
            raise ValueError("No game is running: call reset() first.")
        return self._game

    @property
    def spec(self) -> EnvSpec | None:
        """What `gymnasium.make` makes the same environment from, wherever and whenever it is called."""
        return self._made_with

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        # A relative path, or the variable, may mean other games where or when the environment is made again.
        self._made_with = None if spec is None else replace(spec, kwargs={**spec.kwargs, "games": self._games})

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that `games` has."""
        return self._source.splits

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """The ids of all tasks of a split (default: the environment's) that have one of its task types.

        Raises:
            TaskNotFoundError: The split has none.
        """
        split = self._split if split is None else split
        check_split(split)
        if split not in self._choices:
            ids = self._source.task_ids(split)
            if self._task_types != frozenset(TASK_TYPES):
                ids = tuple(task_id for task_id in ids if self.task_type(task_id) in self._task_types)
            if not ids:
                raise TaskNotFoundError(f"Split {split!r} holds no tasks of type(s) {sorted(self._task_types)}.")
            self._choices[split] = ids
        return self._choices[split]

    def task_type(self, task_id: str) -> str:
        """The task type of an id, read off the id where that is possible.

        Raises:
            TaskNotFoundError: There is no such task.
        """
        named = next((kind for kind in TASK_TYPES if kind in task_id), None)
        if named is not None:
            return named
        if isinstance(self._source, GeneratedSource):
            return task_type_of(task_id)
        return load_cached(self._source, task_id).task_type

    def task_group(self, task_id: str) -> str:
        """The floor plan of a real game; of valid_seen, which plays in train's floor plans by design, the game."""
        parts = task_id.partition("#")[0].split("/")
        # What is no id of a real game is its own group; that there is no such task, reset() says.
        if isinstance(self._source, GeneratedSource) or parts[0] == "valid_seen" or len(parts) != 3:
            return "/".join(parts)
        return f"floor plan {parts[1].rsplit('-', 1)[-1]}"

    def _load_task(self, task_id: str) -> Task:
        game = self._load(task_id)
        split = next((split for split in SPLITS if split in task_id.split("/")[:2]), self._split)
        return Task(game.task_id, game.task_type, split, game.task)

    def _load(self, task_id: str) -> Game:
        if not self._human_goals:
            return load_cached(self._source, task_id)
        game_id, hash_sign, number = task_id.partition("#")
        game, sentences = load_cached(self._source, game_id), self._source.human_goals(game_id)
        if not sentences:
            raise TaskNotFoundError(
                f"{game_id!r} has no goals written by people: no traj_data.json with annotations is beside the game. "
                "Use goals='templated', or get ALFRED's json_2.1.0 data."
            )
        # Without a number the id itself chooses, so that an id is one episode whatever was played before.
        numbered = _NUMBER.fullmatch(number) is not None
        chosen = int(number) if numbered else zlib.crc32(game_id.encode()) % len(sentences)
        if (hash_sign and not numbered) or chosen >= len(sentences):
            raise TaskNotFoundError(
                f"{shortened(task_id)}: {game_id} has {len(sentences)} human goals, #0 to #{len(sentences) - 1}."
            )
        return replace(game, task_id=task_id, task=sentences[chosen])

    def _begin(self, task: Task) -> Turn:
        self.close()
        self._ended = False
        self._game = self._load(task.task_id)
        if self._backend == "textworld":
            from sdar_gym.envs.alfworld.reference import ReferenceEngine

            self._engine = ReferenceEngine(next(iter(self._source.files([task.task_id])))[1])
        else:
            self._engine = Engine(self._game)
        return self._turn_after(self._engine.intro(), True)

    def _act(self, action: str) -> Turn:
        assert self._engine is not None  # step() has made sure of a running episode
        return self._turn_after(*self._engine.act(action))

    def _turn_after(self, observation: str, action_valid: bool) -> Turn:
        engine = self._engine
        assert engine is not None
        won = engine.won
        met, conditions = goal_conditions(engine) if isinstance(engine, Engine) else (int(won), 1)
        return Turn(
            observation=observation,
            reward=self._success_reward if won else 0.0,
            terminated=won,
            action_valid=action_valid,
            admissible_actions=engine.admissible(),
            score=float(won),
            won=won,
            extra={"goal_condition_rate": met / conditions},
        )

    def __getstate__(self) -> dict[str, Any]:
        # The ids of a generated split take a megabyte, and are found again when asked for.
        return {**self.__dict__, "_choices": {}}

    def close(self) -> None:
        """Drop the running episode; closing twice is fine."""
        if self._engine is not None and not isinstance(self._engine, Engine):
            self._engine.close()
        self._engine = self._game = None
        self._ended = True


def game_source(games: str | os.PathLike[str] | None, scene: str) -> GameSource:
    """The games that an `ALFWorldEnv` with these arguments plays.

    Raises:
        ValueError: The folder holds no games, or the scene size is unknown.
    """
    generated, place = GeneratedSource(scene), _located(games)
    if place == GENERATED:
        return generated
    try:
        return open_source(place)
    except MissingGamesError as error:
        if games is not None:
            raise
        # Whoever set the variable long ago should not have to guess where this path comes from.
        raise MissingGamesError(f"{_VARIABLE} is set, but: {error}") from error


def _located(games: str | os.PathLike[str] | None) -> str:
    """The games that are meant, as something that means the same everywhere and later on."""
    if games is not None:
        return GENERATED if games == GENERATED else str(local_path("games", games))
    named = os.environ.get(_VARIABLE)
    return GENERATED if not named or named == GENERATED else str(local_path(f"${_VARIABLE}", named))
