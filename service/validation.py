"""What pydantic found wrong, in the words of whoever said it."""

from __future__ import annotations

from pydantic_core import ErrorDetails


def said(error: ErrorDetails) -> str:
    """The message, without the "Value error, " that pydantic puts before those of our own validators."""
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
