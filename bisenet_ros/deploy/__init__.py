"""From a model to a graph that an engine takes: export, quantization, and their checks."""
