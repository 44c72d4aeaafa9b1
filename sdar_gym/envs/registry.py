"""Environment registry: ids with their prompts, skills and experts, and plug-ins from entry points."""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import gymnasium

from sdar_gym.text import closest, shortened, terminal_safe

PLUGIN_GROUP = "sdar_gym.envs"
# Seconds of loading after which a warning names a plug-in; importing the rest of the gym takes a tenth of it.
_SLOW_S = 2.0
_OBJECT_PATH = re.compile(r"[^:\s]+:[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class EnvEntry:
    """Registry entry of an environment.

    Attributes:
        id: The Gymnasium id.
        entry_point: `module:Class` of the environment.
        prompt: `module:ATTRIBUTE` of a mapping from template name to `PromptTemplate`.
        skills: Name of a built-in skill library, or its folder; None without skills.
        expert: `module:Class` of a scripted policy that solves the tasks; None without one.
    """

    id: str
    entry_point: str
    prompt: str
    skills: str | None
    expert: str | None = None


class PluginWarning(UserWarning):
    """A plug-in failed to load or is slow; all other environments remain available."""


_ENTRIES: dict[str, EnvEntry] = {}
GENERIC_PROMPT = "sdar_gym.envs.prompting:TEMPLATES"


def register(
    id: str,
    entry_point: str,
    *,
    prompt: str = GENERIC_PROMPT,
    skills: str | None = None,
    expert: str | None = None,
) -> None:
    """Register a text environment with Gymnasium and with the gym.

    Args:
        id: Gymnasium id, such as `mylab/Maze-v0`.
        entry_point: `module:Class` of a `TextEnv`. A string, so that it is imported only when it is used and can be
            resolved in other processes.
        prompt: `module:ATTRIBUTE` of a mapping from names to prompt templates; default the generic ones.
        skills: Name or folder of a skill library.
        expert: `module:Class` of a `sdar_gym.envs.policies.ScriptedPolicy` without constructor arguments.

    Raises:
        ValueError: The id is taken or not a string, or a path does not have the form `module:NAME`.
    """
    if not isinstance(id, str):
        raise ValueError(f"The id of an environment must be a text such as 'mylab/Maze-v0', got {shortened(id)}.")
    for name, path, form in (
        ("entry_point", entry_point, "module:Class"),
        ("prompt", prompt, "module:ATTRIBUTE"),
        ("expert", expert, "module:Class"),
    ):
        if not (name == "expert" and path is None) and not is_object_path(path):
            raise ValueError(f"{name} {shortened(path)} of {shortened(id)} must have the form {form!r}, as a text.")
    entry = EnvEntry(id, entry_point, prompt, skills, expert)
    known = _ENTRIES.get(id)
    if known == entry:
        return
    if known is not None:
        raise ValueError(f"{id!r} is registered already, for {known.entry_point}; choose another id or version.")
    # Gymnasium would only warn, and replace the existing registration.
    foreign = gymnasium.registry.get(id)
    if foreign is not None and foreign.entry_point != entry_point:
        raise ValueError(f"{id!r} is registered already, for {foreign.entry_point}; choose another id or version.")
    if foreign is None:
        gymnasium.register(id, entry_point=entry_point, disable_env_checker=True)
    _ENTRIES[id] = entry


def entries() -> tuple[EnvEntry, ...]:
    """All registered environments, sorted by id."""
    return tuple(_ENTRIES[key] for key in sorted(_ENTRIES))


def entry_of(env_id: str) -> EnvEntry:
    """Registry entry of an environment id.

    Raises:
        ValueError: The id is not registered.
    """
    if not isinstance(env_id, str) or env_id not in _ENTRIES:
        close = closest(env_id, _ENTRIES)
        hint = f" Did you mean {close!r}?" if close else ""
        raise ValueError(f"No environment {shortened(env_id)}; registered: {', '.join(sorted(_ENTRIES))}.{hint}")
    return _ENTRIES[env_id]


def is_object_path(path: Any) -> bool:
    """Whether a value is a string of the form `module:NAME`."""
    return isinstance(path, str) and _OBJECT_PATH.fullmatch(path) is not None


def load_module(module: str, what: str) -> ModuleType:
    """Import a module that a user named.

    Args:
        module: Its dotted name.
        what: Where it was named, for messages.

    Raises:
        ValueError: There is no such module, or its import failed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # The module itself or one of its parent packages is missing; otherwise an import inside it failed.
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{what}: there is no module {error.name!r}. Install it, or put the folder it is in on PYTHONPATH."
            ) from error
        raise ValueError(f"{what}: importing {module!r} failed: {shortened(error)}.") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what}: importing {module!r} failed: {shortened(error)}.") from error


def load_modules(modules: Sequence[str]) -> None:
    """Import the modules of the setting `imports`, which register gates, shapers, metrics, engines or environments.

    Raises:
        ValueError: A name is no dotted name, there is no such module, or its import failed.
    """
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(f"imports: {shortened(module)} is no name of a module, such as my_package.gates.")
        load_module(module, f"imports: {module}")


def load_object(path: str, what: str) -> Any:
    """Import the object that `module:NAME` refers to.

    Args:
        path: `module:NAME`.
        what: What is loaded, for messages, such as "The prompt template".

    Raises:
        ValueError: The path has another form, the module cannot be imported, or it has no such name.
    """
    what = f"{what} {shortened(path)}"
    if not is_object_path(path):
        raise ValueError(f"{what} must have the form 'module:NAME'.")
    module, _, name = path.partition(":")
    found = load_module(module, what)
    if not hasattr(found, name):
        close = closest(name, dir(found))
        hint = f" Did you mean {close!r}?" if close else ""
        raise ValueError(f"{what}: the module {module!r} has no {name!r}.{hint}")
    return getattr(found, name)


def load_plugins() -> None:
    """Load plug-ins: call every function in the entry-point group `sdar_gym.envs` of installed packages.

    Runs on every import of the gym. Output of plug-ins goes to stderr, since programs parse our stdout, and their
    exceptions become warnings.
    """
    try:
        points = entry_points(group=PLUGIN_GROUP)
    except Exception as error:  # The metadata of any installed package can be damaged.
        _warn(f"No plug-in was loaded: the installed packages' entry points cannot be read: {shortened(error)}.")
        return
    for point in points:
        _load_plugin(point)


def _load_plugin(point: EntryPoint) -> None:
    name = terminal_safe(f"Plug-in {point.name!r} ({point.value})")
    started = time.monotonic()
    try:
        with redirect_stdout(sys.stderr):
            point.load()()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A plug-in that fails, or calls sys.exit(), must not disable the other environments.
        _warn(f"{name} failed to load: {shortened(error, 300)}.")
    took = time.monotonic() - started
    if took > _SLOW_S:
        _warn(
            f"{name} took {took:.1f} s to load, and every import of sdar_gym waits for it. Its function should only "
            "register names, and import nothing large."
        )


def _warn(message: str) -> None:
    warnings.warn(message, PluginWarning, stacklevel=3)
