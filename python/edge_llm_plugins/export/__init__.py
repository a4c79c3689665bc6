"""Export: ONNX models with the plugins as nodes. Needs the extra edge-llm-plugins[export].

builder     a quantized model folder as an ONNX model
rewriter    plugin nodes for INT4 layers and attention in a user's own ONNX model
schemas     the nodes as onnx.checker and onnx.shape_inference know them
evaluator   runs such models in NumPy
metadata    what an exported model says of itself, for build and run
torch_ops   the operations in PyTorch, which torch.onnx exports as the nodes
"""

from edge_llm_plugins._extras import require

# Here, so that every module of the package says what to install.
require("onnx", "export")
require("onnx_ir", "export")
