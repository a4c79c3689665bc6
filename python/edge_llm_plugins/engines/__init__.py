"""TensorRT engines of exported models: build one, and run it. Building needs [export].

build      an exported ONNX model as an engine file, with the metadata of the engine beside it
metadata   what an engine file says of itself
"""
