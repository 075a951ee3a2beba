"""What other libraries' errors say, in one line."""


def first_line(error: Exception) -> str:
    """The first line of what ``error`` says, at most 200 characters; its type if it is silent."""
    return f"{(str(error).strip() or type(error).__name__).splitlines()[0]:.200}"
