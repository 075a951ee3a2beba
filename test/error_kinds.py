"""Errors that each boundary of the package must tell apart."""

import inspect

from bisenet_ros import errors

USER_ERRORS = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, errors.UserError)
]
"""``UserError`` and every kind of it."""
