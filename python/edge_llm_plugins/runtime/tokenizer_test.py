"""Text to tokens and back, in streams that never break a character."""

from __future__ import annotations

import json
import pathlib

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from edge_llm_plugins.runtime.tokenizer import TextStream, Tokenizer

CHATML = "{{ '<|im_start|>' + message['role'] }}"
# A byte of UTF-8 per token, but for "ab"; the tokens of text: "bos", then bytes.
TEXT = "ab: é, 漢字, 🙂🙂!"


def byte_level(folder: pathlib.Path, template: str | None = CHATML) -> Tokenizer:
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*symbols, "ab"])}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<bos>", "<|im_start|>", "<|im_end|>"])
    bos = tokenizer.token_to_id("<bos>")
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $0", None, [("<bos>", bos)])
    return write(folder, tokenizer, template)


def metaspace(folder: pathlib.Path) -> Tokenizer:
    """As Llama 2: a space is a part of the word behind it, and the first word's is dropped."""
    vocabulary = {"<unk>": 0, "▁a": 1, "▁b": 2, "c": 3, "<s>": 4}
    vocabulary |= {f"<0x{byte:02X}>": 5 + byte for byte in range(256)}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True)
    )
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<s>"])
    return write(folder, tokenizer, None)


def write(folder: pathlib.Path, tokenizer: tokenizers.Tokenizer, template: str | None) -> Tokenizer:
    tokenizer.save(str(folder / "tokenizer.json"))
    if template is not None:
        config = json.dumps({"chat_template": template})
        (folder / "tokenizer_config.json").write_text(config)
    return Tokenizer(folder)


def streamed(tokenizer: Tokenizer, ids: list[int], before: list[int] = ()) -> list[str]:
    stream = TextStream(tokenizer, before)
    return [*(stream.add(token) for token in ids), stream.rest()]


def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Poem"}}')
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer: ") as error:
        Tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_text_without_tokens_is_refused(tmp_path: pathlib.Path) -> None:
    words = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="<unk>"))
    tokenizer = write(tmp_path, words, None)
    with pytest.raises(ValueError, match="does not encode the text: WordLevel error"):
        tokenizer.encode("b")


def test_text_survives_a_round_trip(tmp_path: pathlib.Path) -> None:
    tokenizer = byte_level(tmp_path)
    ids = tokenizer.encode(TEXT)
    assert len(ids) == len(TEXT.encode())  # "ab" is one token, and one more is in front
    assert tokenizer.decode(ids) == TEXT


def test_a_stream_gives_whole_characters(tmp_path: pathlib.Path) -> None:
    tokenizer = byte_level(tmp_path)
    pieces = streamed(tokenizer, tokenizer.encode(TEXT)[1:])
    assert "".join(pieces) == TEXT
    assert [piece for piece in pieces if piece] == ["ab", *TEXT[2:]]


def test_an_incomplete_character_comes_at_the_end(tmp_path: pathlib.Path) -> None:
    tokenizer = byte_level(tmp_path)
    pieces = streamed(tokenizer, tokenizer.encode("a漢")[1:-1])
    assert pieces == ["a", "", "", "\N{REPLACEMENT CHARACTER}"]


def test_bytes_that_are_no_utf8_do_not_hold_the_stream_up(tmp_path: pathlib.Path) -> None:
    tokenizer = byte_level(tmp_path)
    continuation = tokenizer.encode("é")[-1]
    pieces = streamed(tokenizer, [*[continuation] * 4, *tokenizer.encode("ok")[1:]])
    assert pieces[:3] == ["", "", ""] and set(pieces[3]) == {"\N{REPLACEMENT CHARACTER}"}
    assert pieces[4:] == ["o", "k", ""]


def test_a_stream_keeps_spaces_behind_a_prompt_and_special_tokens(tmp_path: pathlib.Path) -> None:
    tokenizer = metaspace(tmp_path)
    a, b, c, special = 1, 2, 3, 4
    assert tokenizer.decode([a, b]) == "a b"
    assert "".join(streamed(tokenizer, [a, b, c, a])) == "a bc a"
    assert "".join(streamed(tokenizer, [b, c, special, a], before=[special, a, c])) == " bc a"
    bytes_of_e = [5 + byte for byte in "é".encode()]
    assert streamed(tokenizer, [a, *bytes_of_e, b]) == ["a", "", "é", " b", ""]


def test_a_chat_frames_the_message(tmp_path: pathlib.Path) -> None:
    tokenizer = byte_level(tmp_path)
    assert tokenizer.is_chatml
    special = {"<|im_start|>": 258, "<|im_end|>": 259}
    assert tokenizer.stop_tokens == (special["<|im_end|>"],)
    ids = tokenizer.encode_chat("ab", system="Be brief.")
    assert [i for i in ids if i > 256] == [258, 259, 258, 259, 258]  # and no "<bos>"
    assert tokenizer.decode(ids) == "system\nBe brief.\nuser\nab\nassistant\n"
    assert tokenizer.decode(tokenizer.encode_chat("ab")) == "user\nab\nassistant\n"


@pytest.mark.parametrize("template", [None, "{{ '[INST]' + message['content'] }}"])
def test_other_templates_are_no_chat(tmp_path: pathlib.Path, template: str | None) -> None:
    tokenizer = byte_level(tmp_path, template)
    assert not tokenizer.is_chatml and tokenizer.stop_tokens == ()
    with pytest.raises(ValueError, match="template is not ChatML"):
        tokenizer.encode_chat("ab")


def test_a_folder_without_tokenizer_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer.json is missing"):
        Tokenizer(tmp_path)
