"""Model files (.safetensors with metadata) and converters of other projects' checkpoints."""
