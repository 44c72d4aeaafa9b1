"""Static checks of a chat template: which variables it reads, and whether it is random."""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sdar_gym.policy.chat import ChatFormat, ChatTemplateError
from sdar_gym.text import closest, shortened

_RANDOM = re.compile(r"\|\s*random\b|\blipsum\s*\(")
# Arguments of `apply_chat_template` that a run may set beside the template's variables.
_OPEN = frozenset({"chat_template", "tools", "documents"})


class _Generation(Extension):
    """The `generation` block, with which templates mark assistant text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def template_variables(template: str) -> frozenset[str]:
    """Names of the variables that a template reads.

    Raises:
        ChatTemplateError: It is not a valid template.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(template)))
    except jinja2.TemplateSyntaxError as error:
        raise ChatTemplateError(f"The chat template is damaged: {error.message} (line {error.lineno}).") from error


def refuse_wrong_settings(tokenizer: Any, chat: ChatFormat, settings: Mapping[str, Any]) -> None:
    """Refuse chat template settings that the gym sets itself, or that the template does not read.

    Raises:
        ChatTemplateError: Names the setting.
    """
    parameters = signature(tokenizer.apply_chat_template).parameters.values()
    taken = {p.name for p in parameters if p.kind is not Parameter.VAR_KEYWORD} - _OPEN | {"messages", "frozen_clock"}
    known = template_variables(chat.template)
    for name in sorted(settings):
        if name in taken:
            raise ChatTemplateError(
                f"rollout.chat_template_kwargs must not include {name}: it is set for every prompt. It is for the "
                "variables of the chat template."
            )
        if name not in known | _OPEN:
            near = closest(name, known)
            hint = f" Did you mean {near}?" if near else ""
            raise ChatTemplateError(
                f"rollout.chat_template_kwargs has {shortened(name)}, which the chat template does not read.{hint}"
            )


def refuse_random(chat: ChatFormat) -> None:
    """Refuse a template with random output.

    Raises:
        ChatTemplateError: The template is random.
    """
    if _RANDOM.search(chat.template):
        raise ChatTemplateError(
            "The chat template is random (random, lipsum), so prompts would not be reproducible; set chat_template in "
            "rollout.chat_template_kwargs to a template without it."
        )
