"""Export: ONNX models with the plugins as nodes. Needs the extra edge-llm-plugins[export].

builder     a quantized model folder as an ONNX model
rewriter    plugin nodes for INT4 layers and attention in a user's own ONNX model
schemas     the nodes as onnx.checker and onnx.shape_inference know them
evaluator   runs such models in NumPy
torch_ops   the operations in PyTorch, which torch.onnx exports as the nodes
"""
