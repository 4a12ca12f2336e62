"""Pydantic's messages in our words."""

from __future__ import annotations

from pydantic_core import ErrorDetails


def said(error: ErrorDetails) -> str:
    """The message; for our own validators without the "Value error, " that pydantic puts in front."""
    if error["type"] == "extra_forbidden":
        return "there is no field of this name"
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
