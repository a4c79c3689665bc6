"""Variants that are launched past the library's plans, on the emulator."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np
import pytest

from edge_llm_plugins import quantization, reference, rope, tree
from tools.bench import launch
from tools.bench.cases import AttentionCase, Int4Case, Model
from tools.ptx_emulator.cuda_driver import Buffer, Context, PtxEmulator

MANIFEST = pathlib.Path(os.environ["MANIFEST"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Images and manifest side by side, as the tuner wants them."""
    found = tmp_path_factory.mktemp("images")
    for path in (MANIFEST, *(MANIFEST.parent / "ptx_images").glob("*.ptx")):
        shutil.copy(path, found)
    return found


@pytest.fixture(scope="module")
def images(folder) -> launch.Images:
    """Those of the newest SM of this build: it may have dependent launch."""
    sms = {int(path.stem.rpartition("_sm")[2]) for path in folder.glob("*.ptx")}
    return launch.Images(folder, max(sms), "ptx")


class RecordingEmulator(PtxEmulator):
    """Notes which launches may begin before the kernel in front of them has ended."""

    def __init__(self) -> None:
        self.early_launches: list[bool] = []
        super().__init__()

    def call(self, name: str, *arguments: object) -> None:
        if name == "cuLaunchKernelEx":
            self.early_launches.append(arguments[0]._obj.attribute_count == 1)
        super().call(name, *arguments)


class Run:
    """A launcher on the emulator, and what it needs of memory."""

    def __init__(self, images: launch.Images, emulator: PtxEmulator, context: Context) -> None:
        self.emulator = emulator
        self.launcher = launch.Launcher(emulator, images, sm_count=1, ordinal=context.device)
        self._context = context

    def upload(self, *arrays: np.ndarray) -> list[int]:
        return [self._context.to_device(array).pointer for array in arrays]

    def empty(self, nbytes: int) -> Buffer:
        return self._context.empty(nbytes)

    def finish(self) -> None:
        self.emulator.call("cuCtxSynchronize")
        assert self.emulator.take_faults() == []


@pytest.fixture
def run(images) -> Iterator[Run]:
    emulator = RecordingEmulator()
    with emulator.context(emulator.device_of_sm(images.sm).ordinal) as context:
        yield Run(images, emulator, context)


@pytest.fixture(scope="module")
def may_start_early(images) -> bool:
    """Whether kernels are launched early on the SM: each of them waits itself."""
    return json.loads(MANIFEST.read_text())["sms"][str(images.sm)]["dependent_launch"]


@pytest.mark.parametrize("splits", [1, 3])
def test_gemm_computes_with_a_given_number_of_splits(run, images, may_start_early, splits):
    (variant,) = [
        found
        for found in images.of("int4_gemm", "gemv")
        if found["name"] == "int4_gemv_f16_m8_n32_w8"
    ]
    rng = np.random.default_rng(splits)
    case = Int4Case(n=160, k=8 * 128 * splits, m=3)  # five tiles for at most two CTAs
    x = rng.standard_normal((case.m, case.k)).astype(np.float16)
    packed = quantization.pack(rng.integers(-8, 8, (case.n, case.k)))
    scales = rng.uniform(0.01, 0.1, (case.k // 128, case.n)).astype(np.float16)
    y = run.empty(2 * case.m * case.n)
    partials = run.empty(4 * splits * case.m * case.n)
    pointers = [*run.upload(x, packed, scales), y.pointer, partials.pointer]
    launch.int4_gemm(run.launcher, variant, case, splits, pointers, stream=0)
    run.finish()
    actual = y.numpy(np.float16, (1, case.m, case.n))
    assert run.emulator.early_launches == [may_start_early] * (1 if splits == 1 else 2)
    reference.assert_close(actual, reference.int4_groupwise_gemm(x[None], packed, scales))


@pytest.mark.parametrize(
    ("mode", "kind", "tile_q", "splits"),
    [
        ("decode", "decode", 16, 1),
        ("tree", "decode", 16, 2),
        ("tree", "decode", 64, 3),
        ("chunk", "decode", 16, 2),
        ("chunk", "prefill", 128, 1),
        ("chunk", "prefill", 64, 3),
        ("prefill", "prefill", 128, 1),
    ],
)
def test_attention_computes_with_a_given_tile_and_number_of_splits(
    run, images, may_start_early, mode, kind, tile_q, splits
):
    q_len = 1 if mode == "decode" else 7  # with 3 Q heads of a KV head: two tiles of 16 rows
    past = 0 if mode == "prefill" else 190
    case = AttentionCase(mode, Model("m", 6, 2, 64), 2, q_len, past + q_len)
    (variant,) = [
        found
        for found in images.of("attention", kind)
        if (found["tile"]["head_size"], found["tile"]["tile_q"]) == (64, tile_q)
    ]
    inputs = attention_inputs(case)
    qkv, cache = run.upload(inputs["qkv"], inputs["kv_cache"])
    heads = case.batch * q_len * case.model.q_heads
    output, partials = run.empty(2 * heads * 64), run.empty(4 * splits * heads * (64 + 2))
    names = ("context_lengths", "rope_cos_sin", "kv_cache_start_index")
    names += ("attention_mask", "attention_pos_ids")
    given = [inputs.get(name, np.empty(0)) for name in names]
    common = [run.upload(array)[0] if array.size else 0 for array in given]
    pointers = [qkv, cache, *common, partials.pointer, output.pointer]
    launch.attention(run.launcher, variant, case, splits, pointers, stream=0)
    run.finish()
    kernels = 1 + (kind == "prefill") + (splits > 1)
    assert run.emulator.early_launches == [may_start_early] * kernels
    expected, _ = reference.attention(
        **inputs, num_q_heads=6, num_kv_heads=2, head_size=case.model.head_size
    )
    reference.assert_attention_close(output.numpy(np.float16, expected.shape), expected)


def attention_inputs(case: AttentionCase) -> dict[str, np.ndarray]:
    """Random arguments of reference.attention; the cache is NaN where nothing was written."""
    rng = np.random.default_rng(case.kv_len)
    model, batch, q_len = case.model, case.batch, case.q_len
    heads = model.q_heads + 2 * model.kv_heads
    qkv = rng.standard_normal((batch, q_len, heads * model.head_size)).astype(np.float16)
    shape = (batch, 2, model.kv_heads, case.kv_len, model.head_size)
    kv_cache = rng.standard_normal(shape).astype(np.float16)
    kv_cache[:, :, :, case.past :] = np.nan
    counts_new = case.mode in ("prefill", "chunk")
    inputs = {
        "qkv": qkv,
        "kv_cache": kv_cache,
        "context_lengths": np.full(batch, q_len if counts_new else case.kv_len, np.int32),
        "rope_cos_sin": rope.cos_sin(case.kv_len, model.head_size),
        "kv_cache_start_index": np.full(
            0 if case.mode == "prefill" else batch, case.past, np.int32
        ),
    }
    if case.mode == "tree":
        parents = tree.batch([[tree.ROOT, 0, 0, 1, 1, 2, 5], tree.chain(q_len)])
        inputs["attention_mask"] = tree.pack_mask(parents)
        inputs["attention_pos_ids"] = tree.position_ids(parents, case.past)
    return inputs


def test_folder_without_images_of_the_gpu_is_refused(folder):
    with pytest.raises(ValueError, match=r"--images is .*: it has no \*_sm7\.ptx"):
        launch.Images(folder, 7, "ptx")
