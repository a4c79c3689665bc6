"""Models as files and as networks: configuration, checkpoints, the quantized model folder.

config      ModelConfig, from Hugging Face's config.json or a GGUF file's metadata
folder      the quantized model folder: QuantizedModel reads it, FolderWriter writes it
"""
