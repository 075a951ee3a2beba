"""Model files: weights and what they mean, in one .safetensors, and other projects' checkpoints."""
