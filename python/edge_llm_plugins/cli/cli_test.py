"""The command: dispatch, help, one-line errors, and the phases from a checkpoint to ONNX."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import tokenizers
from absl import flags

from edge_llm_plugins import host
from edge_llm_plugins.cli.command import Command, UsageError
from edge_llm_plugins.cli.main import COMMANDS, main
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.testdata import tiny_models
from edge_llm_plugins.runtime.testdata.executing_tensorrt import install_engine

# Another than the one that is emulated unless the user names one, where the build has several.
OTHER = host.emulated_devices()[-1]
SM_OF_OTHER = f"--sm={OTHER.sm}"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    code = main([str(word) for word in words])
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def checkpoint(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder as Hugging Face has them."""
    tiny = tiny_models.TinyCheckpoint(tiny_models.CONFIGS["qwen2"])
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    tensors = {name: tiny.tensor(name).astype(np.float16) for name in tiny.names()}
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    config = tiny.config
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "qwen2",
                "hidden_act": "silu",
                "hidden_size": config.hidden_size,
                "num_hidden_layers": config.num_layers,
                "num_attention_heads": config.num_q_heads,
                "num_key_value_heads": config.num_kv_heads,
                "head_dim": config.head_size,
                "intermediate_size": config.intermediate_size,
                "vocab_size": config.vocab_size,
                "max_position_embeddings": config.max_positions,
                "rms_norm_eps": config.rms_norm_eps,
                "rope_theta": config.rope_theta,
                "tie_word_embeddings": False,
            }
        )
    )
    return folder


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]], ids=lambda words: words[0])
def test_help_lists_every_command(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code, output, _ = run(capsys, *words)
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()[4:]] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_usage_and_every_flag(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, output, _ = run(capsys, name, "--help")
    assert code == 0
    assert output.startswith(f"usage: edge-llm-plugins {name}")
    module = sys.modules[f"edge_llm_plugins.cli.{name}"]
    for flag in module.COMMAND.flags:
        assert f"\n  --{flag}: " in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a command is missing: info, "),
        (["quantise"], "'quantise' is no command: info, "),
        (["export", "folder"], "export takes FOLDER MODEL.onnx, not folder"),
        (["info", "all"], "info takes no arguments, not all"),
        (["export", "a", "b", "--kapacity=1"], "Unknown command line flag 'kapacity'"),
        (["export", "a", "b", "--capacity=many"], "flag --capacity=many"),
        (["export", "a", "b", "--tensorrt=9"], "flag --tensorrt=9: value should be one of"),
        (["run", "folder"], "--prompt is missing"),
    ],
    ids=lambda value: "_".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_impossible_calls_end_with_2(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, output, errors = run(capsys, *words)
    assert (code, output) == (2, "")
    assert errors.startswith(f"edge-llm-plugins: {message}")
    assert errors.count("\n") == 1


def test_refusals_end_with_1_and_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    code, output, errors = run(capsys, "export", tmp_path / "nowhere", tmp_path / "model.onnx")
    assert (code, output) == (1, "")
    assert errors.startswith("edge-llm-plugins: ") and errors.count("\n") == 1
    assert "nowhere" in errors
    assert not (tmp_path / "model.onnx").exists()


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect() -> None:
        raise AssertionError("a defect")

    from edge_llm_plugins.cli import info

    monkeypatch.setattr(info, "COMMAND", Command("info", (), "", flags.FlagValues(), defect))
    with pytest.raises(AssertionError, match="a defect"):
        main(["info"])


def test_interrupts_end_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    from edge_llm_plugins.cli import info

    monkeypatch.setattr(info, "COMMAND", Command("info", (), "", flags.FlagValues(), interrupted))
    assert run(capsys, "info") == (1, "", "edge-llm-plugins: interrupted\n")


def test_errors_of_files_name_the_file_and_no_number(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, checkpoint: pathlib.Path
) -> None:
    texts = tmp_path / "nowhere.txt"
    words = ("quantize", checkpoint, tmp_path / "folder", f"--calibration={texts}")
    message = f"edge-llm-plugins: {texts}: No such file or directory\n"
    assert run(capsys, *words) == (1, "", message)


def test_flags_of_one_call_are_gone_in_the_next() -> None:
    values = flags.FlagValues()
    size = flags.DEFINE_integer("size", 3, "", flag_values=values)
    seen = []
    command = Command("name", (), "", values, lambda: seen.append(size.value))
    command(["--size=5"])
    command([])
    assert seen == [5, 3]
    with pytest.raises(UsageError, match="name takes no arguments, not more"):
        command(["more"])


def test_info_names_version_device_and_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    code, output, _ = run(capsys, "info")
    assert code == 0
    facts = dict(line.split(None, 1) for line in output.splitlines() if line[0] != " ")
    assert list(facts) == ["version", "library", "kernels", "emulator", "device", "TensorRT"]
    assert facts["library"].endswith("libedge_llm_plugins.so")


def test_a_checkpoint_is_quantized_and_exported(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, checkpoint: pathlib.Path
) -> None:
    folder, model = tmp_path / "folder", tmp_path / "model.onnx"
    code, output, errors = run(capsys, "quantize", checkpoint, folder)
    assert code == 0, errors
    assert "relative error of weights" in output
    assert output.endswith(f"wrote {folder}\n")

    code, output, errors = run(capsys, "export", folder, model, "--capacity=32", "--batch=2")
    assert code == 0, errors
    assert output == f"wrote {model}\n"
    assert model.exists()


def test_calibration_needs_a_tokenizer(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, checkpoint: pathlib.Path
) -> None:
    text = tmp_path / "texts.txt"
    text.write_text("Some words.\n\nAnd more.\n")
    code, _, errors = run(
        capsys, "quantize", checkpoint, tmp_path / "folder", f"--calibration={text}"
    )
    assert code == 1
    assert "the checkpoint has no tokenizer.json" in errors
    assert not (tmp_path / "folder").exists()


def test_calibration_on_no_text_names_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, checkpoint: pathlib.Path
) -> None:
    texts = tmp_path / "texts.bin"
    texts.write_bytes(b"abc\xff")
    words = ("quantize", checkpoint, tmp_path / "folder", f"--calibration={texts}")
    message = f"edge-llm-plugins: {texts} is no text in UTF-8: invalid start byte at 3\n"
    assert run(capsys, *words) == (1, "", message)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A quantized model whose tokens are the words w0 to w92, and three of chats."""
    path = tmp_path / "folder"
    tiny_models.quantized_folder(tiny_models.CONFIGS["llama"], path)
    words = {f"w{i}": i for i in range(93)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def generated(output: str) -> tuple[list[str], str]:
    """The words of a run, and the line of statistics with the place behind it."""
    text, *statistics = output.splitlines()
    return text.split(), " ".join(statistics)


@pytest.mark.parametrize(
    "flags",
    [
        ["--device=reference"],
        ["--device=emulator", SM_OF_OTHER, "--plugin_version=1"],
        ["--device=emulator", "--emulator_checks"],
        ["--device=reference", "--prefill_tokens=2"],
        ["--device=emulator", "--speculative", "--tree_tokens=6"],
        ["--device=reference", "--temperature=0.5", "--top_k=1"],
    ],
    ids=lambda flags: " ".join(flags),
)
def test_runs_give_the_same_greedy_text(
    capsys: pytest.CaptureFixture[str], folder: pathlib.Path, flags: list[str]
) -> None:
    words = ["--prompt=w1 w2 w3 w1 w2", "--tokens=6", "--device=reference"]
    code, output, errors = run(capsys, "run", folder, *words)
    assert code == 0, errors
    expected, _ = generated(output)
    assert len(expected) == 6
    code, output, errors = run(capsys, "run", folder, *words, *flags)
    assert code == 0, errors
    text, statistics = generated(output)
    assert text == expected
    assert statistics.startswith("6 tokens in ")
    assert "for the prompt of 5 tokens; " in statistics
    place = {
        "--emulator_checks": "checks on",
        "--device=reference": "NumPy",
        SM_OF_OTHER: OTHER.name,
    }
    for flag in set(flags) & set(place):
        assert place[flag] in statistics


def test_guesses_make_fewer_steps(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    def steps(*flags: str) -> int:
        words = ["--prompt=w1 w2 w3 w1 w2", "--tokens=30", "--device=reference", *flags]
        code, output, errors = run(capsys, "run", folder, *words)
        assert code == 0, errors
        return int(output.split(" decode steps")[0].split()[-1])

    assert steps("--speculative") < steps() == 29


def test_a_run_ends_where_the_model_has_no_more_positions(
    capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    words = ["--prompt=w1 w2 w3 w4", "--tokens=1000", "--device=reference", "--format=plain"]
    code, output, errors = run(capsys, "run", folder, *words)
    assert code == 0, errors
    positions = tiny_models.CONFIGS["llama"].max_positions
    assert generated(output)[1].startswith(f"{positions - 4 + 1} tokens in ")


def test_runs_draw_by_seed(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    def text(*flags: str) -> str:
        words = ["--prompt=w1 w2", "--tokens=8", "--device=reference", *flags]
        return run(capsys, "run", folder, *words)[1].splitlines()[0]

    hot = "--temperature=30"
    assert text(hot, "--seed=1") == text(hot, "--seed=1") != text(hot, "--seed=2")
    assert text(hot, "--top_k=1") == text(hot, "--top_p=0.001") == text()


def test_a_chat_model_is_asked_in_its_own_format(
    capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    def prompt_tokens(*flags: str) -> int:
        words = ["--prompt=w1 w2", "--tokens=1", "--device=reference", *flags]
        code, output, errors = run(capsys, "run", folder, *words)
        assert code == 0, errors
        return int(output.split("for the prompt of ")[1].split()[0])

    assert prompt_tokens() == 2
    code, _, errors = run(capsys, "run", folder, "--prompt=w1", "--format=chat")
    assert code == 1 and "not ChatML" in errors
    template = {"chat_template": "{{ '<|im_start|>' + message['role'] }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(template))
    # <|im_start|> user w1 w2 <|im_end|> <|im_start|> assistant
    assert prompt_tokens() == 7
    assert prompt_tokens("--system=w5") == 7 + 4
    assert prompt_tokens("--format=plain") == 2


def test_runs_an_engine(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    folder: pathlib.Path,
) -> None:
    model, limits = QuantizedModel(folder), Limits(32, prefill_tokens=4, tree_tokens=4)
    words = ["--prompt=w1 w2 w3 w1 w2", "--tokens=6"]
    expected, _ = generated(run(capsys, "run", folder, *words, "--device=reference")[1])
    engine, _ = install_engine(monkeypatch, tmp_path, model, limits)
    for more in ([], ["--speculative"]):
        code, output, errors = run(capsys, "run", folder, *words, f"--engine={engine}", *more)
        assert code == 0, errors
        text, statistics = generated(output)
        assert text == expected
        assert " on tensorrt 10.3.0, " in statistics
    other = dataclasses.replace(model.config, rope_theta=5000.0)
    install_engine(monkeypatch, tmp_path, model, limits, changes={"config": other})
    code, _, errors = run(capsys, "run", folder, *words, f"--engine={engine}")
    assert code == 1 and "it was built of another model than" in errors


def test_missing_gpu_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path
) -> None:
    monkeypatch.setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", "libnone.so")
    code, _, errors = run(capsys, "run", folder, "--prompt=w1", "--device=gpu")
    assert code == 1
    assert errors.startswith("edge-llm-plugins: no CUDA driver: libnone.so")
    assert errors.count("\n") == 1


def test_is_a_module_of_the_package() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "edge_llm_plugins", "nothing"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.startswith("edge-llm-plugins: 'nothing' is no command")
