"""All kinds of user errors, to test each boundary of the package with them."""

import inspect

from bisenet_ros import errors

USER_ERRORS = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, errors.UserError)
]
"""``UserError`` and every kind of it."""
