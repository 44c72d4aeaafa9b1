"""`sdar-gym play`: play an environment interactively in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.panel import Panel
from rich.text import Text

from sdar_gym.cli.terminal import Terminal
from sdar_gym.configs.env_arguments import arguments_of
from sdar_gym.skills import load_library, make_retriever
from sdar_gym.skills.lookup import query_for
from sdar_gym.text import terminal_safe


def play_command(env_id: str, arguments: Sequence[str], task: str | None, seed: int, skills: bool) -> None:
    """Play one episode; `?` lists the admissible actions, `quit` leaves."""
    import gymnasium

    from sdar_gym.envs.registry import entry_of

    entry = entry_of(env_id)
    try:
        env = gymnasium.make(env_id, **arguments_of(env_id, arguments))
    except (TypeError, gymnasium.error.Error) as error:
        raise ValueError(f"The arguments do not fit {env_id}: {error}.") from error
    terminal = Terminal()
    try:
        observation, info = env.reset(seed=seed, options={"task_id": task} if task else None)
    except gymnasium.error.Error as error:
        raise ValueError(f"{env_id} cannot begin with seed {seed}: {error}.") from error
    terminal.print(_panel(observation, f"{info['task_id']} · {info['task_type']}"))
    if skills and entry.skills:
        retriever = make_retriever("oracle_type", load_library(entry.skills), include_general=False)
        found = retriever.retrieve(query_for(entry.skills, info, observation))
        terminal.print(_panel(found.text, "skills", "green"))
    bold = ("?", "bold"), " lists the admissible actions, ", ("quit", "bold"), " leaves."
    terminal.print(Text.assemble("Type an action; ", *bold))
    while True:
        try:
            action = terminal.input(Text("> ", "bold cyan"))
        except EOFError:
            break
        if action.strip() == "quit":
            break
        if action.strip() == "?":
            terminal.print("\n".join(f"  {command}" for command in info["admissible_actions"]))
            continue
        observation, reward, terminated, truncated, info = env.step(action)
        terminal.print(observation)
        if terminated or truncated:
            end = "You won." if info["won"] else "The turn limit is reached." if truncated else "Over."
            terminal.print(Text.assemble((end, "bold"), f" reward {reward:g}, {info['turn']} turns"))
            break
    env.close()


def _panel(text: str, title: str, style: str = "none") -> Panel:
    # rich parses a plain title as markup.
    return Panel(terminal_safe(text), title=Text(terminal_safe(title)), style=style)
