"""From a checkpoint to a quantized model folder.

search    round to nearest with a scale per group that minimises the error
awq       activation-aware scaling of input channels, folded into the operation in front
pipeline  quantize() streams a checkpoint into a folder, layer by layer
"""
