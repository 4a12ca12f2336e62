"""Signatures of webhooks, after the Standard Webhooks specification (https://www.standardwebhooks.com, version 1).

`webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. The key is what stands in base64
after the secret's `whsec_`. Receivers check it with any of the specification's libraries.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from hashlib import sha256
from typing import Final

PREFIX: Final = "whsec_"


def new_secret() -> str:
    """Of 256 bits: as long as the hash."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signed(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message that is sent at `timestamp` [s since 1970]."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
