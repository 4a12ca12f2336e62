"""What holds a bundle together: checksums of all its files in `SHA256SUMS`, and optionally a signature of those.

`SHA256SUMS` has the form of coreutils, so `sha256sum --check SHA256SUMS` checks a bundle too. Its signature
`SHA256SUMS.minisig` is minisign's (https://jedisct1.github.io/minisign/): `minisign -Sm SHA256SUMS` makes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from service.errors import AlertClassifierError

if TYPE_CHECKING:
    import minisign  # and all of cryptography: loaded where keys are trusted

SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = f"{SUMS}.minisig"

# The shipped manifest has 0.1 MB; one with a full covariance of 1,024 dimensions has 25.
MANIFEST_BYTES: Final = 64_000_000
# Text for people, and figures: a thousandth of this today.
TEXT_BYTES: Final = 16_000_000
# protobuf, and so ONNX, takes no more in one file
GRAPH_BYTES: Final = 2**31
# Four lines of a hundred bytes; there may be files beside them that the service does not read.
SUMS_BYTES: Final = 65_536
# Two comments and two lines of base64.
SIGNATURE_BYTES: Final = 4096

_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *]([^/\\\0\r\n]+)")


class BundleError(AlertClassifierError, ValueError):
    """A bundle that can't be served; the message names the folder, the file and the field."""


def read_bounded(folder: Path, name: str, most: int) -> bytes:
    """The bytes of a file of the bundle. Raises BundleError if it can't be read or has more than `most` bytes."""
    try:
        with (folder / name).open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise BundleError(f"the model bundle {folder} has no readable {name} ({error.strerror})") from error
    if len(content) > most:
        raise BundleError(f"{name} of {folder} has more than {most} bytes: it is no part of a bundle")
    return content


def seal(folder: Path, names: Sequence[str]) -> str:
    """Write `SHA256SUMS` over those of the files `names` that are there, and return its own sha256.

    A signature that is there was made for other sums, and is removed where they change.
    """
    there = sorted(name for name in names if (folder / name).is_file())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in there]
    sums = "".join(lines).encode()
    target = folder / SUMS
    if not target.is_file() or target.read_bytes() != sums:
        (folder / SIGNATURE).unlink(missing_ok=True)
        target.write_bytes(sums)
    return hashlib.sha256(sums).hexdigest()


def check_seal(folder: Path, contents: Mapping[str, bytes], trusted_keys: Sequence[str] = ()) -> str | None:
    """The sha256 of `SHA256SUMS`, if each of `contents` (file name -> bytes) is in it and has that hash.

    None for a bundle without it, as they were made up to 0.1. With `trusted_keys` (minisign public keys, as
    `minisign.pub` holds them) such a bundle is refused too, and one that no such key has signed. Raises BundleError.
    """
    keys = [_public_key(key) for key in trusted_keys]
    if not (folder / SUMS).exists():
        if keys:
            raise BundleError(
                f"the model bundle {folder} has no {SUMS}, but model.trusted_keys asks for signed bundles:"
                f" write it with `alert-classifier model seal {folder}`, then sign it with `minisign -Sm {SUMS}`"
            )
        return None
    sums = read_bounded(folder, SUMS, SUMS_BYTES)
    if keys:
        _check_signature(folder, sums, keys)
    wanted = _parse(folder, sums)
    for name, content in contents.items():
        if name not in wanted:
            raise BundleError(
                f"{SUMS} of {folder} does not list {name}: seal the bundle with `alert-classifier model seal {folder}`"
            )
        digest = hashlib.sha256(content).hexdigest()
        if digest != wanted[name]:
            raise BundleError(
                f"{name} of {folder} has sha256 {digest}, but {SUMS} says {wanted[name]}:"
                " the file was changed after the bundle was sealed"
            )
    return hashlib.sha256(sums).hexdigest()


def _parse(folder: Path, sums: bytes) -> dict[str, str]:
    """File name -> sha256."""
    found: dict[str, str] = {}
    for number, line in enumerate(sums.decode("utf-8", "replace").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"line {number} of {SUMS} of {folder} is not a sha256, two spaces and a file's name")
        if match[2] in found:
            raise BundleError(f"{SUMS} of {folder} lists {match[2]} twice")
        found[match[2]] = match[1]
    return found


def _public_key(text: str) -> minisign.PublicKey:
    """From the one line of base64, or from the two of a `minisign.pub`."""
    import minisign

    try:
        return minisign.PublicKey.from_base64(text.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BundleError(f"model.trusted_keys: {text!r} is not a minisign public key: {error}") from error


def _check_signature(folder: Path, sums: bytes, keys: Sequence[minisign.PublicKey]) -> None:
    import minisign

    if not (folder / SIGNATURE).exists():
        raise BundleError(
            f"the model bundle {folder} is not signed, but model.trusted_keys asks for signed bundles:"
            f" {SIGNATURE} is missing (`minisign -Sm {SUMS}` makes it)"
        )
    try:
        signature = minisign.Signature.from_bytes(read_bounded(folder, SIGNATURE, SIGNATURE_BYTES))
    except minisign.Error as error:
        raise BundleError(f"{SIGNATURE} of {folder} is not a minisign signature: {error}") from error
    for key in keys:
        try:
            key.verify(sums, signature)
        except minisign.VerifyError:
            continue
        return
    raise BundleError(
        f"{SIGNATURE} of {folder} was not made for this {SUMS} by any of the {len(keys)} keys in model.trusted_keys"
    )
