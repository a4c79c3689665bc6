"""From a quantized model to text. Needs the extra edge-llm-plugins[run].

backends        what runs the network: the interface, the project's plugins, NumPy
engine_backend  a TensorRT engine as such a back end
generate        prefill in chunks, and tokens one by one
speculative     several tokens per step, guessed from the text and verified as a draft tree
sampling        which token comes next
tokenizer       text to token ids and back, as a stream too
"""
