"""Models as files and as networks: configuration, checkpoints, the quantized model folder.

config       ModelConfig, from Hugging Face's config.json or a GGUF file's metadata
checkpoints  open_checkpoint reads safetensors (AWQ and GPTQ among them) and GGUF
folder       the quantized model folder: QuantizedModel reads it, FolderWriter writes it
transformer  the network, over an object that has its operations
"""
