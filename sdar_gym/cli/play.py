"""A person plays an environment in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from sdar_gym.skills import OracleTypeRetriever, SkillQuery, load_library


def play_command(env_id: str, arguments: Sequence[str], task: str | None, seed: int, skills: bool) -> None:
    """Play one episode; `?` lists what can be done, `quit` leaves."""
    import gymnasium

    from sdar_gym.envs.registry import entry_of

    entry = entry_of(env_id)
    try:
        env = gymnasium.make(env_id, **_arguments(arguments))
    except TypeError as error:
        raise ValueError(f"The arguments do not fit {env_id}: {error}.") from error
    console = Console()
    observation, info = env.reset(seed=seed, options={"task_id": task} if task else None)
    console.print(Panel(escape(observation), title=escape(f"{info['task_id']} · {info['task_type']}")))
    if skills and entry.skills:
        retriever = OracleTypeRetriever(load_library(entry.skills), k=5, include_general=False)
        found = retriever.retrieve(SkillQuery(entry.skills, info["task_type"], info["goal"], observation=observation))
        console.print(Panel(escape(found.text), title="skills", style="green"))
    console.print("Type an action; [bold]?[/] lists what can be done, [bold]quit[/] leaves.", highlight=False)
    while True:
        try:
            action = console.input("[bold cyan]> [/]")
        except EOFError:
            break
        if action.strip() == "quit":
            break
        if action.strip() == "?":
            console.print("\n".join(f"  {escape(command)}" for command in info["admissible_actions"]), highlight=False)
            continue
        observation, reward, terminated, truncated, info = env.step(action)
        console.print(escape(observation), highlight=False)
        if terminated or truncated:
            end = "You did it." if info["won"] else "The turns are used up." if truncated else "Over."
            console.print(f"[bold]{end}[/] reward {reward:g}, {info['turn']} turns")
            break
    env.close()


def _arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` as Python values: whole numbers and numbers where they look like it, text otherwise."""
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not of the form key=value.")
        result[key] = _value(value)
    return result


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)
