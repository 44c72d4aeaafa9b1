"""`sdar-gym new-env`: writes the package of a new environment and prints the next steps."""

from __future__ import annotations

from pathlib import Path

from sdar_gym.cli.terminal import Terminal
from sdar_gym.envs.scaffold import write_env_package


def new_env_command(name: str, folder: Path) -> None:
    """Write the package, and print its files and what to do next."""
    package = write_env_package(name, folder)
    terminal = Terminal()
    terminal.tell(f"{package.env_id}: a package of {len(package.files)} files in {package.folder}")
    for file in package.files:
        terminal.tell(f"  {file}")
    terminal.tell("Next:")
    for step in (
        f"cd {package.folder}",
        "python -m pytest     # passes now; run it after every change",
        "pip install -e .     # so that the command line and Ray's workers find it",
        f"sdar-gym play {package.env_id} --skills",
        f"sdar-gym train quickstart env={package.env_id}",
    ):
        terminal.tell(f"  {step}")
    terminal.tell(f"The game is an example: replace it in {Path(name) / 'env.py'}; README.md says how.")
