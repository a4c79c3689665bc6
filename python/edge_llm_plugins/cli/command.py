"""What a command is: arguments, flags of its own, and what it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from absl import flags


class UsageError(ValueError):
    """Arguments that make no call."""


class Refusal(ValueError):
    """The end of a command that found something wrong, after what it has printed."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One word behind `edge-llm-plugins`.

    name: that word.
    arguments: the names of what stands behind it, such as ("CHECKPOINT", "FOLDER").
    about: what `--help` prints; its first line alone in the list of commands.
    flags: absl flags, defined with flag_values=.
    run: gets the arguments; prints; raises what users can mend.
    """

    name: str
    arguments: tuple[str, ...]
    about: str
    flags: flags.FlagValues
    run: Callable[..., None]

    def help(self) -> str:
        usage = " ".join(["usage: edge-llm-plugins", self.name, *self.arguments, "[--flags]"])
        lines = [usage, "", self.about.strip()]
        values = self.flags.flag_values_dict()
        if values:
            lines += ["", "flags:"]
        for name in sorted(values):
            flag = self.flags[name]
            default = "" if flag.default is None else f" (default {flag.default_as_str})"
            lines.append(f"  --{name}: {flag.help}{default}")
        return "\n".join(lines)

    def __call__(self, words: Sequence[str]) -> None:
        """Parses what stands behind the command's name and runs it.

        Raises:
          UsageError: unknown or impossible flags, or a wrong number of arguments.
        """
        self.flags.unparse_flags()
        try:
            _, *arguments = self.flags([self.name, *words])
        except flags.Error as error:
            raise UsageError(f"{error}; `edge-llm-plugins {self.name} --help` lists them") from None
        if len(arguments) != len(self.arguments):
            wanted = " ".join(self.arguments) or "no arguments"
            raise UsageError(f"{self.name} takes {wanted}, not {' '.join(arguments) or 'none'}")
        self.run(*arguments)
