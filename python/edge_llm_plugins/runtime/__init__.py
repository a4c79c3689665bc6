"""From a quantized model to text.

backends     what runs the network: the interface, and NumPy
"""
