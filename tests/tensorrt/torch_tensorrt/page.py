"""The code of docs/torch_tensorrt.md, with stand-ins for what no test machine has."""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

PAGE = pathlib.Path("docs/torch_tensorrt.md")
OPERATORS = ("attention", "int4_groupwise_gemm")


def run_page(trt: ModuleType, stop_before: str = "import torch") -> dict[str, Any]:
    """Runs the page's blocks in their order, as one program; gives its names.

    Args:
      trt: what `import tensorrt` gives.
      stop_before: the begin of the first block that is left out.
    """
    sys.modules["tensorrt"] = trt
    names: dict[str, Any] = {}
    text = PAGE.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if stop_before and match[1].startswith(stop_before):
            break
        # Errors then show the page's own line.
        lines_above = "\n" * text.count("\n", 0, match.start(1))
        exec(compile(lines_above + match[1], str(PAGE), "exec"), names)
    return names


def stand_in_for_torch() -> dict[str, Callable[..., Any]]:
    """Makes modules of PyTorch and Torch-TensorRT; gives what registers itself as a converter."""
    converters: dict[str, Callable[..., Any]] = {}

    def dynamo_tensorrt_converter(key: str, *, supports_dynamic_shapes: bool) -> Callable:
        assert supports_dynamic_shapes
        return lambda converter: converters.setdefault(key, converter)

    operators = {name: SimpleNamespace(default=name) for name in OPERATORS}
    modules = {
        "torch": {"ops": SimpleNamespace(edge_llm_plugins=SimpleNamespace(**operators))},
        "torch_tensorrt": {},
        "torch_tensorrt.dynamo": {},
        "torch_tensorrt.dynamo.conversion": {
            "dynamo_tensorrt_converter": dynamo_tensorrt_converter
        },
        "torch_tensorrt.dynamo.conversion.converter_utils": {
            "get_trt_tensor": lambda ctx, value, name: value
        },
        "edge_llm_plugins.export.torch_ops": {},
    }
    for name, members in modules.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(members)
    return converters
