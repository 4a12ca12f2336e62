"""Pydantic's messages without their prefix."""

from __future__ import annotations

from pydantic_core import ErrorDetails


def said(error: ErrorDetails) -> str:
    """The message, for our own validators without pydantic's prefix "Value error, "."""
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
