"""`sdar-gym serve-env`: an environment behind an OpenEnv server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from sdar_gym.cli.listening import listen
from sdar_gym.cli.terminal import Terminal
from sdar_gym.configs.env_arguments import arguments_of
from sdar_gym.envs.registry import entry_of
from sdar_gym.extras import require


def serve_env_command(
    env_id: str,
    arguments: Sequence[str],
    host: str,
    port: int,
    prompt: str,
    think: bool,
    show_actions: str,
    max_sessions: int,
) -> None:
    """Serves an environment until interrupted.

    Raises:
        MissingExtraError: openenv is not installed.
        ValueError: The environment or an argument is unknown, or the port is in use.
    """
    entry_of(env_id)
    require("openenv", "An OpenEnv server")
    import uvicorn

    from sdar_gym.integrations.openenv import create_app

    settings = {"prompt": prompt, "think": think, "show_actions": show_actions, **arguments_of(env_id, arguments)}
    with closing(listen(host, port)) as listener:
        app = create_app(env_id, settings, max_sessions)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}"
        Terminal().tell(f"{env_id} at {address}, up to {max_sessions} sessions at once; Ctrl-C ends it.")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
