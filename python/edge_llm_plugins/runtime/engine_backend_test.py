"""The TensorRT back end, with a TensorRT that computes in NumPy: what it binds, and when."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_llm_plugins import emulator, tree
from edge_llm_plugins.engines.versions import EngineError
from edge_llm_plugins.models.folder import QuantizedModel
from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.steps import AttentionStep
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, TOKENS, quantized_folder
from edge_llm_plugins.runtime.backends import Backend, ReferenceBackend
from edge_llm_plugins.runtime.engine_backend import EngineBackend
from edge_llm_plugins.runtime.generate import Generation
from edge_llm_plugins.runtime.speculative import SpeculativeDecoder
from edge_llm_plugins.runtime.testdata.executing_tensorrt import install_engine

TREE = Limits(capacity=48, batch=2, prefill_tokens=8, tree_tokens=6)
PLAIN = Limits(capacity=48, batch=2, prefill_tokens=8)
VERSIONS = ["8.6.0", "10.3.0", "11.4.0"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> QuantizedModel:
    return quantized_folder(CONFIGS["llama3"], tmp_path_factory.mktemp("models") / "llama3")


@pytest.fixture
def open_engine(model, tmp_path, monkeypatch):
    """Opens a back end; `trt` is then the TensorRT that it found."""

    def run(
        limits: Limits = TREE,
        version: str = "10.3.0",
        options: dict | None = None,
        **changes: object,
    ) -> EngineBackend:
        path, run.trt = install_engine(monkeypatch, tmp_path, model, limits, version, **changes)
        return EngineBackend(path, **(options or {}))

    return run


def tokens(batch: int, count: int, seed: int = 0) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(96, size=(batch, count)).astype(np.int32)


def generated(backend: Backend, speculative: bool) -> list[int]:
    decoder = SpeculativeDecoder() if speculative else None
    prompt = [*TOKENS[:13], *TOKENS[3:13]]  # of three chunks, and with something to guess from
    return list(Generation(backend, prompt, max_tokens=16, decoder=decoder))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("limits", [PLAIN, TREE], ids=["5_inputs", "7_inputs"])
def test_generation_gives_the_tokens_of_the_reference(open_engine, model, limits, version):
    expected = generated(ReferenceBackend(model, limits), speculative=False)
    assert len(set(expected)) > 4, "a text that says nothing"
    backend = open_engine(limits, version)
    for speculative in [False, True][: 1 + (limits is TREE)]:
        assert generated(backend, speculative) == expected
    assert emulator.take_faults() == []


def run_steps(backend: Backend) -> list[NDArray[np.float32]]:
    """Logits of every kind of step of two rows, and then of one, on each other's caches."""
    parents = tree.batch([[-1, 0, 0, 2, 2], [-1, 0, -1]])
    drafts = AttentionStep.draft_tree(parents, [12, 9])
    logits = [
        backend.run(tokens(2, 8), AttentionStep.prefill([8, 3])),
        backend.run(tokens(2, 4, 1), AttentionStep.chunk([8, 3], [2, 4])),
        backend.run(tokens(2, 1, 2), AttentionStep.chunk([10, 7], [1, 1])),
        backend.run(tokens(2, 1, 3), AttentionStep.decode([11, 8])),
        backend.run(tokens(2, 5, 4), drafts)[drafts.attention_pos_ids >= 0],
    ]
    backend.move_slots(0, [12, 14, 16], 12)
    backend.move_slots(1, [11], 9)
    logits.append(backend.run(tokens(2, 1, 5), AttentionStep.decode([15, 10])))
    logits.append(backend.run(tokens(1, 5, 6), AttentionStep.prefill([5])))
    logits.append(backend.run(tokens(1, 1, 7), AttentionStep.decode([5])))
    logits.append(backend.run(tokens(2, 1, 8), AttentionStep.decode([6, 11])))
    return logits


def test_every_kind_of_step_gives_the_logits_of_the_reference(open_engine, model):
    expected = run_steps(ReferenceBackend(model, TREE))
    for actual, wanted in zip(run_steps(open_engine()), expected, strict=True):
        assert actual.dtype == np.float32
        np.testing.assert_array_equal(actual, wanted)
    assert emulator.take_faults() == []


def test_each_profile_has_its_context_and_caches_stay_in_place(open_engine):
    backend = open_engine()
    (engine,) = open_engine.trt.engines
    assert engine.profiles_in_use == ["prefill", "generation"]
    addresses = [context._execution._addresses for context in backend._contexts.values()]
    assert addresses[0] == addresses[1]
    for layer in range(backend.config.num_layers):
        assert addresses[0][f"kv_cache_{layer}"] == addresses[0][f"kv_cache_out_{layer}"]
    assert len(set(addresses[0].values())) == len(addresses[0]) - backend.config.num_layers


def test_steps_beyond_the_limits_and_unknown_tokens_are_refused(open_engine):
    backend = open_engine(refuses="execute_async_v3")  # which they must not come to
    with pytest.raises(ValueError, match="9 tokens per row: 1 to 8"):
        backend.run(tokens(1, 9), AttentionStep.prefill([9]))
    with pytest.raises(ValueError, match="3 rows: up to 2"):
        backend.run(tokens(3, 1), AttentionStep.decode([0, 0, 0]))
    with pytest.raises(ValueError, match="token id 96: 0 to 95"):
        backend.run(np.array([[96]], np.int32), AttentionStep.prefill([1]))
    with pytest.raises(ValueError, match="draft tree has 2 tokens per row: 1 to 0"):
        open_engine(PLAIN).run(tokens(1, 2), AttentionStep.draft_tree([tree.chain(2)], [4]))


@pytest.mark.parametrize(
    "refuses, message",
    [
        ("deserialize_cuda_engine", r"^TensorRT refuses .*model\.engine: .*reason$"),
        ("create_execution_context", "^TensorRT refuses an execution context: .*reason$"),
        ("set_optimization_profile_async", "^TensorRT refuses optimization profile 0: .*reason$"),
        ("set_tensor_address", "^TensorRT refuses the address of .*reason$"),
        ("set_input_shape", r"^TensorRT refuses rope_cos_sin of shape \[1, 48, 32\]: .*reason$"),
        ("infer_shapes", r"^TensorRT refuses the step: no shapes for \['input_ids'\]: .*reason$"),
        ("execute_async_v3", "^TensorRT refuses the step: .*reason$"),
    ],
)
def test_refusals_of_tensorrt_say_what_it_said(open_engine, refuses, message):
    with pytest.raises(EngineError, match=message):
        open_engine(refuses=refuses).run(tokens(1, 1), AttentionStep.prefill([1]))


def test_engines_of_another_version_are_refused(open_engine):
    with pytest.raises(EngineError, match=r"by tensorrt 10\.0\.1, and tensorrt 10\.3\.0 is instal"):
        open_engine(changes={"tensorrt": "10.0.1"})
    with pytest.raises(ImportError, match="tensorrt_rtx is not installed"):
        open_engine(changes={"package": "tensorrt_rtx"})


@pytest.mark.parametrize("name", ["kv_cache_out_1", "logits"])
def test_tensors_of_other_types_are_refused(open_engine, name):
    # What TensorRT 8.6 makes of FP16 outputs when it is not told.
    with pytest.raises(EngineError, match=f"the engine's tensor {name} is float64, and float"):
        open_engine(types={name: np.float64})


def test_tensor_that_the_metadata_lack_is_refused(open_engine):
    with pytest.raises(EngineError, match="tensor extra is int32, and missing by its metadata"):
        open_engine(types={"extra": np.int32})


def test_streamed_weights_get_a_budget_before_the_contexts(open_engine):
    changes = {"weights": "streamed"}
    open_engine(changes=changes)
    assert open_engine.trt.engines[0].weight_streaming_budget_v2 == 1234
    open_engine(changes=changes, options={"weights_budget": 10})
    assert open_engine.trt.engines[0].weight_streaming_budget_v2 == 10
    open_engine()
    assert open_engine.trt.engines[0].weight_streaming_budget_v2 is None


def test_external_weights_are_taken_from_the_same_model(open_engine, tmp_path):
    changes = {"weights": "external"}
    open_engine(changes=changes)
    assert open_engine.trt.engines[0].refitted_from == str(tmp_path / "model.onnx")
    with pytest.raises(EngineError, match=r"TensorRT refuses the weights of .*: .*reason$"):
        open_engine(changes=changes, refuses="refit_cuda_engine")
    with pytest.raises(EngineError, match=r"TensorRT refuses the weights of .*: .*reason$"):
        open_engine(changes=changes, refuses="refit_from_file")
    other = tmp_path / "other.onnx"
    with pytest.raises(FileNotFoundError, match="the engine's weights are there"):
        open_engine(changes=changes, options={"onnx_path": other})
    other.write_bytes(b"another model")
    with pytest.raises(EngineError, match="is not the model that the engine was built of"):
        open_engine(changes=changes, options={"onnx_path": other})


def test_engine_without_metadata_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(FileNotFoundError, match=r"model\.engine\.json is missing"):
        EngineBackend(tmp_path / "model.engine")
