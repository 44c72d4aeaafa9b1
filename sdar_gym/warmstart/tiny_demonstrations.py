"""Demonstrations for the tiny policy's warm start: expert play in ALFWorld, with real, made-up and missing skills.

Three kinds of episodes. With a skill text that states a made-up procedure, the demonstrator follows the text even where
the environment returns "Nothing happens.", so the policy has to read the text and cannot memorize it. Without a skill
text it guesses the procedure and is right with a fixed probability: a weak prior, as of a language model without
experience in this environment. A skill text of another task type is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, ClassVar

from sdar_gym.envs.alfworld.demonstrator import (
    Demonstrator,
    Procedure,
    random_procedure,
    skill_text,
    slip,
    true_procedure,
)
from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.generator import SPLIT_SIZES, generate_game
from sdar_gym.envs.alfworld.notes import start_notes
from sdar_gym.envs.alfworld.prompt import render_notes
from sdar_gym.envs.alfworld.world import TASK_TYPES, Game
from sdar_gym.envs.prompting import skill_context
from sdar_gym.policy.tiny_tokenizer import HOUSEHOLD, TokenStyle

# Turns after which a demonstrator that believes its task done has shown that it tries nothing else.
IDLE_TURNS = 2


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One turn: a prompt and its target response.

    Attributes:
        prompt: The prompt.
        response: The target response.
        whole: Whether the prompt is in the loss, too.
    """

    prompt: str
    response: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class DemonstrationMix:
    """Mixture of the demonstrations; all numbers are probabilities unless stated otherwise.

    Attributes:
        small_rooms: An episode plays in a small room instead of a full floor plan.
        skill: The prompt has a skill text.
        made_up: The skill text states a made-up procedure.
        other_type: The skill text belongs to another task type and is ignored.
        slip: Another command is carried out (the label stays the right one).
        keep: A turn that only searches for the object is kept, in a small and in a full room.
        prior: By task type, the procedure is guessed right without a skill text; 1 for other types.
        max_steps: Most turns of an episode in a small and in a full room.
    """

    small_rooms: float = 1.0
    skill: float = 0.65
    made_up: float = 0.6
    other_type: float = 0.1
    slip: float = 0.12
    keep: tuple[float, float] = (0.4, 0.1)
    prior: Mapping[str, float] = field(
        default_factory=lambda: {
            "pick_and_place_simple": 0.4,
            "pick_two_obj_and_place": 0.25,
            "look_at_obj_in_light": 0.15,
            "pick_clean_then_place_in_recep": 0.3,
            "pick_heat_then_place_in_recep": 0.25,
            "pick_cool_then_place_in_recep": 0.15,
        }
    )
    max_steps: tuple[int, int] = (20, 50)

    STYLE: ClassVar[TokenStyle] = HOUSEHOLD

    def stream(self, seed: int) -> Iterator[Demonstration]:
        """Endless stream of demonstrations; `seed` decides all draws."""
        return demonstrations(self, seed)

    def to_json(self) -> dict[str, Any]:
        """The mixture as JSON."""
        return {**asdict(self), "prior": dict(self.prior)}


def demonstrations(mix: DemonstrationMix, seed: int) -> Iterator[Demonstration]:
    """Endless stream of demonstrations; `seed` decides all draws."""
    rng = Random(f"sdar-gym demonstrations {seed}")
    while True:
        size = "small" if rng.random() < mix.small_rooms else "full"
        number = int(rng.random() * SPLIT_SIZES["train"])
        # Oversample tasks with two objects, which take longest to learn: only there do the places of both matter.
        if TASK_TYPES[number % len(TASK_TYPES)] != "pick_two_obj_and_place" and rng.random() < 0.5:
            continue
        yield from _episode(mix, rng, generate_game(f"{size}/train/{number:06d}"), size == "full")


def _episode(mix: DemonstrationMix, rng: Random, game: Game, full: bool) -> Iterator[Demonstration]:
    keep, max_steps = mix.keep[full], mix.max_steps[full]
    procedure, skills = belief(mix, rng, game)
    demonstrator = Demonstrator(game, procedure)
    engine = Engine(game)
    notes = start_notes(engine.intro())
    idle = 0
    for _ in range(max_steps):
        command = demonstrator.act(notes)
        if command is None:
            # It believes the task done and looks around, so that the policy learns not to try another guess.
            command, idle = "look", idle + 1
            if idle > IDLE_TURNS:
                return
        if not demonstrator.exploring or rng.random() < keep:
            yield Demonstration(render_notes(game.task, notes, skill_context(skills)), f"<action>{command}</action>")
        if rng.random() < mix.slip:
            command = slip(rng, command, notes, engine.admissible())
        observation, _ = engine.act(command)
        if engine.won:
            return
        notes.update(command, observation)


def belief(mix: DemonstrationMix, rng: Random, game: Game) -> tuple[Procedure, str]:
    """The procedure that the demonstrator follows, and the skill text in its prompt.

    Args:
        mix: The probabilities.
        rng: Source of the draws.
        game: The game.
    """
    if rng.random() < mix.skill:
        if rng.random() < mix.other_type:
            others = [kind for kind in TASK_TYPES if kind != game.task_type]
            other = others[int(rng.random() * len(others))]
            return _guess(mix, rng, game), skill_text(other, true_procedure(other))
        made_up = rng.random() < mix.made_up
        procedure = random_procedure(rng, game) if made_up else true_procedure(game.task_type)
        return procedure, skill_text(game.task_type, procedure)
    return _guess(mix, rng, game), ""


def _guess(mix: DemonstrationMix, rng: Random, game: Game) -> Procedure:
    knows = rng.random() < mix.prior.get(game.task_type, 1.0)
    return true_procedure(game.task_type) if knows else random_procedure(rng, game)
