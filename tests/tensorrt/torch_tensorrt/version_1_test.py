"""docs/torch_tensorrt.md with TensorRT 10: version "1" by get_plugin_creator and add_plugin_v2."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tensorrt_lean_bindings as trt

from tests.tensorrt.torch_tensorrt.page import run_page


class Network:
    """Keeps what is added; TensorRT's runtime wheels have no network."""

    def __init__(self) -> None:
        self.layers: list[SimpleNamespace] = []

    def add_plugin_v2(self, inputs: list[Any], plugin: Any) -> SimpleNamespace:
        outputs = [f"output {i}" for i in range(plugin.num_outputs)]
        self.layers.append(
            SimpleNamespace(
                inputs=inputs,
                plugin=plugin,
                num_outputs=len(outputs),
                get_output=outputs.__getitem__,
            )
        )
        return self.layers[-1]


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    names = run_page(trt)
    # The page takes V3 where it is; this is about what serves TensorRT 8.6 too.
    names["add_plugin"] = names["add_plugin_v2"]
    return names


@pytest.mark.parametrize("count", [5, 7])
def test_attention_is_added(page, count):
    network, inputs = Network(), [f"input {i}" for i in range(count)]
    assert page["add_attention"](network, "layer", inputs, 4, 2, 64) == ["output 0", "output 1"]
    (layer,) = network.layers
    assert (layer.name, layer.inputs) == ("layer", inputs)
    assert isinstance(layer.plugin, trt.IPluginV2)
    assert (layer.plugin.plugin_type, layer.plugin.plugin_version) == ("AttentionPlugin", "1")
    # What the plugin would write into an engine: the fields are at the end of it.
    other = Network()
    page["add_attention"](other, "layer", inputs[:5] if count == 7 else [*inputs, 5, 6], 4, 2, 64)
    assert layer.plugin.serialize() != other.layers[0].plugin.serialize()


def test_int4_gemm_is_added(page):
    network, packed = Network(), SimpleNamespace(shape=(128, 192))
    assert page["add_int4_gemm"](network, "layer", "x", packed, "scales") == "output 0"
    (layer,) = network.layers
    assert layer.inputs == ["x", packed, "scales"]
    assert layer.plugin.plugin_type == "Int4GroupwiseGemmPlugin"


def test_impossible_fields_give_no_plugin(page):
    registry = trt.get_plugin_registry()
    creator = registry.get_plugin_creator("AttentionPlugin", "1", "")
    heads = {"num_kv_heads": 2, "head_size": 64, "enable_tree_attention": 0}
    assert creator.create_plugin("layer", page["fields"](num_q_heads=3, **heads)) is None
    assert creator.create_plugin("layer", page["fields"](**heads)) is None
    assert creator.create_plugin("layer", page["fields"](num_q_heads=4, **heads)) is not None
