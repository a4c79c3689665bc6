"""Every fault that the emulator promises to find is planted, and must be reported at its line."""

from __future__ import annotations

import pathlib
import struct

import numpy as np
import pytest

from tools.ptx_emulator.conformance.matrix_cases import fragments
from tools.ptx_emulator.conformance.wgmma_cases import Layout
from tools.ptx_emulator.cuda_driver import Context, CudaError, Fault, PtxEmulator

HERE = pathlib.Path(__file__).parent
SOURCE = HERE / "planted_faults.cu"
IMAGES = {int(path.stem.rpartition("_sm")[2]): path for path in HERE.glob("planted_images/*.ptx")}
SMS = sorted(IMAGES)
SM_OF_WGMMA = 90
TILES = 3

DRIVER = PtxEmulator()


def fault_line(name: str) -> int:
    """The line of SOURCE with the comment `FAULT ... name ...`."""
    for number, line in enumerate(SOURCE.read_text().splitlines(), start=1):
        if name in line.partition("// FAULT ")[2].split():
            return number
    raise AssertionError(f"no line is marked FAULT {name}")


def lines(fault: Fault) -> set[int]:
    """The line of the fault, and that of the call where it was inlined."""
    return {int(place.rpartition(":")[2]) for place in (fault.source, fault.inlined_at) if place}


@pytest.fixture(params=SMS)
def context(request: pytest.FixtureRequest):
    DRIVER.set_checks("all")
    DRIVER.set_seed(0)
    DRIVER.take_faults()
    DRIVER.take_stats()
    with DRIVER.context(DRIVER.device_of_sm(request.param).ordinal) as ctx:
        yield ctx


def image(ctx: Context) -> bytes:
    return IMAGES[DRIVER.devices()[ctx.device].sm].read_bytes()


def sum_rows(ctx: Context, name: str) -> np.ndarray:
    """The family over a tile of 128 columns, with n = 100 of them in use."""
    rows, n = 3, 100
    x = ctx.to_device(np.arange(rows * n, dtype=np.float32), name="x")
    y = ctx.empty(4 * n, name="y")
    parameters = struct.pack("<QQii", x.pointer, y.pointer, rows, n)
    ctx.load(image(ctx)).kernel(name).launch((1,), (128,), 0, parameters)
    return y.numpy(np.float32)


def pass_within_warp(ctx: Context, name: str) -> np.ndarray:
    x = ctx.to_device(np.arange(128, dtype=np.float32), name="x")
    y = ctx.empty(512, name="y")
    parameters = struct.pack("<QQ", x.pointer, y.pointer)
    ctx.load(image(ctx)).kernel(name).launch((1,), (32,), 512, parameters)
    return y.numpy(np.float32, (32, 4))


def pipeline(ctx: Context, name: str) -> np.ndarray:
    x = ctx.to_device(np.arange(TILES * 512, dtype=np.float32), name="x")
    y = ctx.empty(2048, name="y")
    parameters = struct.pack("<QQi", x.pointer, y.pointer, TILES)
    ctx.load(image(ctx)).kernel(name).launch((1,), (128,), 0, parameters)
    return y.numpy(np.float32, (128, 4))


def output_only(ctx: Context, name: str, threads: int = 128) -> np.ndarray:
    y = ctx.empty(4 * threads, name="y")
    parameters = struct.pack("<Q", y.pointer)
    ctx.load(image(ctx)).kernel(name).launch((1,), (threads,), 0, parameters)
    return y.numpy(np.uint32)


def workspace(ctx: Context, name: str) -> None:
    w = ctx.empty(128, name="workspace")
    y = ctx.empty(128, name="y")
    parameters = struct.pack("<QQ", w.pointer, y.pointer)
    ctx.load(image(ctx)).kernel(name).launch((1,), (32,), 0, parameters)


class Factors:
    """What the wgmma pipeline multiplies: A [64, 16] by every 16 columns of every B [16, 64]."""

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        self.a = rng.integers(-8, 9, (64, 16)).astype(np.float16)
        self.b = rng.integers(-8, 9, (TILES, 16, 64)).astype(np.float16)

    def registers(self) -> np.ndarray:
        """A, uint32 [128, 4]."""
        warps = self.a.view(np.uint16).reshape(4, 16, 16)
        none = np.zeros((16, 8), np.uint16)
        drawn = [fragments(rows, none, none.astype(np.uint32)) for rows in warps]
        return np.concatenate(drawn)[:, :4].astype(np.uint32)

    def tiles(self) -> np.ndarray:
        """The bytes of every B as the pipeline has them in shared memory."""
        layout = Layout(128, 1024)
        return np.concatenate([layout.image(rows) for rows in self.b.view(np.uint16)])

    def result(self) -> np.ndarray:
        """The accumulators of every thread, f32 [128, 8]."""
        d = sum(self.a.astype(np.float32) @ b.reshape(16, 4, 16).sum(1).T for b in self.b)
        thread, i = np.mgrid[:128, :8]
        rows = thread // 32 * 16 + thread % 32 // 4 + i // 2 % 2 * 8
        return d[rows, i // 4 * 8 + thread % 4 * 2 + i % 2]


def products(ctx: Context, name: str) -> np.ndarray:
    factors = Factors()
    x = ctx.to_device(factors.tiles(), name="x")
    a = ctx.to_device(np.concatenate([factors.registers()] * 2), name="a")
    y = ctx.empty(128 * 8 * 4, name="y")
    parameters = struct.pack("<QQQi", x.pointer, a.pointer, y.pointer, TILES)
    ctx.load(image(ctx)).kernel(name).launch((1,), (128,), 0, parameters)
    return y.numpy(np.float32, (128, 8))


# kernel, how it is run, the kind of its fault, and what the message says.
FAULTS = [
    ("missing_sync_before_read", sum_rows, "race", "read after write: shared+"),
    ("missing_sync_before_write", sum_rows, "race", "write after read: shared+"),
    ("write_out_of_bounds", sum_rows, "bounds", "write of 4 bytes at 'y'+400, which has 400 bytes"),
    ("read_out_of_bounds", sum_rows, "bounds", "read of 4 bytes at 'x'+1200, which has 1200 bytes"),
    ("shared_out_of_bounds", pass_within_warp, "bounds", "at shared+512; the block has 512 bytes"),
    ("shared_misaligned", pass_within_warp, "alignment", "read of 16 bytes at shared+8"),
    ("shared_uninitialized", pass_within_warp, "uninitialized", "shared+80, which nobody wrote"),
    ("missing_sync_warp", pass_within_warp, "race", "read after write within the warp"),
    ("weak_wait", pipeline, "async", "while a cp.async to it is in flight"),
    ("missing_sync_before_copy", pipeline, "race", "write after read"),
    ("missing_sync_after_wait", pipeline, "race", "read after write"),
    ("in_flight_at_exit", pipeline, "async", "still in flight at its exit"),
    ("skipped_barrier", output_only, "barrier", "1 of the 4 warps exited before this barrier"),
    ("divergent_barrier", output_only, "barrier", "lanes 0000007f of ffffffff execute it"),
    ("deadlock", output_only, "deadlock", "warp 2 at barrier 2 (planted_faults.cu:"),
    ("uninitialized_workspace", workspace, "uninitialized", "'workspace'+0, which nobody wrote"),
]
FAULTS_OF_WGMMA = [
    ("missing_register_fence", products, "async", "written with no wgmma.fence since"),
    ("missing_proxy_fence", products, "async", "wrote with no fence.proxy.async since"),
    ("missing_product_wait", products, "async", "read of an accumulator of the wgmma at planted_"),
    ("weak_product_wait", products, "async", "while a wgmma of warp"),
    ("missing_sync_after_products", products, "race", "was read by a wgmma of warp"),
    ("factor_overwritten", products, "async", "write of A of the wgmma at planted_faults.cu:"),
]
PLANTED = [
    (sm, *fault) for sm in SMS for fault in FAULTS + (FAULTS_OF_WGMMA if sm == SM_OF_WGMMA else [])
]


@pytest.mark.parametrize(
    ("context", "name", "run", "kind", "message"),
    PLANTED,
    ids=[f"{sm}-{name}" for sm, name, *_ in PLANTED],
    indirect=["context"],
)
def test_fault_is_reported_with_kind_and_line(context, name, run, kind, message):
    with pytest.raises(CudaError, match="CUDA_ERROR_LAUNCH_FAILED") as raised:
        run(context, name)
    faults = DRIVER.take_faults()
    line = fault_line(name)
    found = [f for f in faults if f.kind == kind and line in lines(f) and message in f.message]
    assert found, f"no {kind} at line {line} with {message!r} among:\n" + "\n".join(
        map(str, faults)
    )
    fault: Fault = found[0]
    assert fault.kernel == name
    assert fault.source.startswith("planted_faults.cu:")
    assert fault.block == (0, 0, 0) and 0 <= fault.warp < 4 and 0 <= fault.lane < 32
    assert fault.ptx_line > 0 and fault.count > 0 and fault.opcode
    assert message in str(raised.value)


def test_kernels_without_the_fault_are_clean_and_right(context):
    x = np.arange(300, dtype=np.float32).reshape(3, 100).sum(0)
    padded = np.concatenate([x, np.zeros(28, np.float32)])
    assert np.array_equal(sum_rows(context, "sum_rows_clean"), padded[np.arange(100) ^ 64])
    vectors = np.arange(128, dtype=np.float32).reshape(32, 4)
    result = pass_within_warp(context, "pass_within_warp_clean")
    assert np.array_equal(result, vectors[np.arange(32) ^ 1])
    tiles = np.arange(TILES * 512, dtype=np.float32).reshape(TILES, 128, 4).sum(0)
    assert np.array_equal(pipeline(context, "pipeline_clean"), tiles[np.arange(128) ^ 32])
    assert DRIVER.take_faults() == []


def test_clean_kernels_stay_clean_under_every_schedule(context):
    for seed in range(1, 6):
        DRIVER.set_seed(seed)
        sum_rows(context, "sum_rows_clean")
        pipeline(context, "pipeline_clean")
    assert DRIVER.take_faults() == []


@pytest.mark.parametrize("context", {SM_OF_WGMMA} & set(SMS), indirect=True)
def test_products_without_the_fault_are_clean_and_right_under_every_schedule(context):
    for seed in range(6):
        DRIVER.set_seed(seed)
        assert np.array_equal(products(context, "products_clean"), Factors().result())
    assert DRIVER.take_faults() == []


def test_a_check_that_is_off_reports_nothing(context):
    DRIVER.set_checks("async,barriers")
    sum_rows(context, "missing_sync_before_read")
    DRIVER.set_checks("races,async,barriers")
    workspace(context, "uninitialized_workspace")
    DRIVER.set_checks("none")
    pipeline(context, "in_flight_at_exit")
    assert DRIVER.take_faults() == []


def ldmatrix_wavefronts(ctx: Context, name: str) -> float:
    output_only(ctx, name, threads=32)
    return DRIVER.take_stats()["shared"]["ldmatrix.sync.aligned.m8n8.x4.shared.b16"]


def test_bank_conflicts_are_eight_without_swizzle_and_one_with(context):
    assert ldmatrix_wavefronts(context, "read_tile_plain") == {"phases": 32, "wavefronts": 256}
    assert ldmatrix_wavefronts(context, "read_tile_swizzled") == {"phases": 32, "wavefronts": 32}


@pytest.mark.parametrize(("stride", "sectors"), [(1, 4), (2, 8), (8, 32)])
def test_sectors_of_strided_reads(context, stride, sectors):
    x = context.to_device(np.zeros(32 * stride, np.float32), name="x")
    y = context.empty(128, name="y")
    kernel = context.load(image(context)).kernel("read_strided")
    kernel.launch((1,), (32,), 0, struct.pack("<QQi", x.pointer, y.pointer, stride))
    stats = DRIVER.take_stats()
    assert stats["global_requests"] == 2
    assert stats["global_sectors"] == sectors + 4


def test_one_fault_in_many_blocks_is_one_report_of_the_first(context):
    x = context.to_device(np.zeros(128 * 8, np.float32), name="x")
    y = context.empty(4, name="y")
    kernel = context.load(image(context)).kernel("write_out_of_bounds")
    with pytest.raises(CudaError):
        kernel.launch((8,), (128,), 0, struct.pack("<QQii", x.pointer, y.pointer, 0, 1))
    (fault,) = DRIVER.take_faults()
    assert fault.count == 8 * 128 - 1
    assert (fault.block, fault.warp, fault.lane) == ((0, 0, 0), 0, 1)
