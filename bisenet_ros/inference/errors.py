"""Errors that a user can mend by asking for something else."""


class InferenceError(ValueError):
    """A backend, device, precision or resolution that this machine or model cannot serve."""
