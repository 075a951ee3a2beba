"""From a model to a graph for engines: export, quantization, and their checks."""
