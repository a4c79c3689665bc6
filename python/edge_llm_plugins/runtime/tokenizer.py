"""Text to token ids and back, with the tokenizer of a quantized model folder."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence

from edge_llm_plugins._extras import require
from edge_llm_plugins.models.json_values import one_line
from edge_llm_plugins.models.tensor_files import read_json

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A character of UTF-8 has at most 4 bytes, and a token at least one of them.
_MOST_TOKENS_OF_A_CHARACTER = 4

_CHATML_START, _CHATML_END = "<|im_start|>", "<|im_end|>"


class Tokenizer:
    """Reads tokenizer.json, and tokenizer_config.json where there is one.

    is_chatml: the folder's chat template is of the ChatML kind, as that of SmolLM2 and Qwen: each
      message stands between <|im_start|>ROLE and <|im_end|>.
    stop_tokens: the tokens that end an answer in such a chat.

    Raises:
      FileNotFoundError: the folder has no tokenizer.json.
      ValueError: it, or tokenizer_config.json, is something else.
      ImportError: tokenizers is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        folder = pathlib.Path(folder)
        path, config_path = folder / "tokenizer.json", folder / "tokenizer_config.json"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: copy it from the checkpoint")
        self._path = path
        with self._refusals("is no tokenizer"):
            self._tokenizer = require("tokenizers", "run").Tokenizer.from_file(str(path))
        template = read_json(config_path).get("chat_template") if config_path.exists() else None
        end = self._tokenizer.token_to_id(_CHATML_END)
        self.is_chatml = isinstance(template, str) and _CHATML_START in template and end is not None
        self.stop_tokens: tuple[int, ...] = (end,) if self.is_chatml else ()

    def encode(self, text: str) -> list[int]:
        """The tokens of a plain text, with what the tokenizer puts in front (often BOS).

        Raises:
          ValueError: the tokenizer has no tokens for the text.
        """
        with self._refusals("does not encode the text"):
            return self._tokenizer.encode(text).ids

    def encode_chat(self, message: str, system: str = "") -> list[int]:
        """The tokens of a user's message, and of the start of the answer to it.

        Args:
          message: of the user.
          system: what goes before it as the system's message; empty for none.

        Raises:
          ValueError: the folder's chat template is of another kind.
        """
        if not self.is_chatml:
            raise ValueError("the folder's chat template is not ChatML: plain text is allowed")
        messages = [("system", system)] if system else []
        text = "".join(
            f"{_CHATML_START}{role}\n{content}{_CHATML_END}\n"
            for role, content in [*messages, ("user", message)]
        )
        text += f"{_CHATML_START}assistant\n"
        with self._refusals("does not encode the text"):
            return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special ones; bytes that are no UTF-8 become U+FFFD."""
        with self._refusals("does not decode the tokens"):
            return self._tokenizer.decode(list(token_ids), skip_special_tokens=True)

    @contextlib.contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ImportError, KeyboardInterrupt):
            raise
        # The package raises plain Exceptions, and for its panics a BaseException of its own.
        except BaseException as error:
            raise ValueError(f"{self._path} {what}: {one_line(error)}") from None


class TextStream:
    """Turns tokens into text one by one; a character comes out when it is complete.

        stream = TextStream(tokenizer, prompt)
        for token in tokens:
            print(stream.add(token), end="", flush=True)
        print(stream.rest())

    The pieces put together are the text of all tokens.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        """A stream that goes on behind the tokens `before`, whose text does not come out."""
        self._tokenizer = tokenizer
        # Some decoders treat the first token of a text in another way (they drop its space), so
        # tokens are decoded behind the ones of the text that came out last.
        self._context = list(before[-_MOST_TOKENS_OF_A_CHARACTER:])
        self._held: list[int] = []

    def add(self, token_id: int) -> str:
        """What the token adds to the text; empty while a character lacks bytes."""
        self._held.append(token_id)
        text = self._held_text()
        if text.endswith(_REPLACEMENT) and len(self._held) < _MOST_TOKENS_OF_A_CHARACTER:
            return ""
        return self._release(text)

    def rest(self) -> str:
        """What was held back at the end; incomplete characters become U+FFFD."""
        return self._release(self._held_text())

    def _held_text(self) -> str:
        before = self._tokenizer.decode(self._context)
        return self._tokenizer.decode(self._context + self._held)[len(before) :]

    def _release(self, text: str) -> str:
        if text:
            self._context = self._held
        self._held = []
        return text
