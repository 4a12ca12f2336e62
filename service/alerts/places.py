"""Where in a schema something is: a field's name and the place above it.

Spelled out only where it is told: if each of a thousand fields kept its whole path as text, one huge name above them
would be copied a thousand times.
"""

from __future__ import annotations

from typing import Final

Place = tuple["Place", str] | tuple[()]

TOP: Final[Place] = ()
_LONGEST: Final = 300  # characters; the paths of surveys have 40


def spelled(place: Place) -> str:
    """`prv_candidates[].jd`; of a long path its end."""
    names: list[str] = []
    size = 0
    while place and size <= _LONGEST:
        place, name = place
        names.append(name)
        size += len(name)
    text = ".".join(reversed(names)).replace(".[]", "[]").replace(".{}", "{}")
    return text if not place and len(text) <= _LONGEST else "…" + text[-_LONGEST:]
