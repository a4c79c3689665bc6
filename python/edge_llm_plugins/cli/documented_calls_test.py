"""Every call of the command that help texts and pages show is one that the command takes."""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
import re
import shlex

import pytest

from edge_llm_plugins.cli.main import COMMANDS

PAGES = [pathlib.Path("README.md"), pathlib.Path("docs/workflow.md")]


def calls(text: str) -> list[str]:
    """The lines that begin with the command, continued ones joined."""
    commands = "|".join(COMMANDS)
    pattern = rf"^(?:\$ |  )?edge-llm-plugins ((?:{commands})\b.*)$"
    return re.findall(pattern, text.replace("\\\n", " "), re.MULTILINE)


def documented_calls() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    texts += [
        importlib.import_module(f"edge_llm_plugins.cli.{name}").COMMAND.about for name in COMMANDS
    ]
    return sorted({call for text in texts for call in calls(text)})


def test_every_command_is_documented() -> None:
    assert {call.split()[0] for call in documented_calls()} == set(COMMANDS)


@pytest.mark.parametrize("call", documented_calls())
def test_a_documented_call_is_taken(call: str) -> None:
    name, *words = shlex.split(call, comments=True)
    command = importlib.import_module(f"edge_llm_plugins.cli.{name}").COMMAND
    ran = []
    dataclasses.replace(command, run=lambda *arguments: ran.append(arguments))(words)
    assert len(ran) == 1
