"""Write the dashboards that Grafana is provisioned with: edit operations.py or host.py, then run

    python deploy/grafana/build.py            (with --check it writes nothing and fails where a file is out of date)

A test holds the files equal to what this writes, and each expression to metrics that exist.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from host import host
from operations import operations

FOLDER: Final = Path(__file__).resolve().parent / "dashboards"


def files() -> dict[str, str]:
    """Name -> content of each dashboard's file."""
    return {"operations.json": _encode(operations()), "host.json": _encode(host())}


def _encode(dashboard: Dashboard) -> str:
    built = dashboard.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number  # links to a panel stay good
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


def main() -> None:
    stale = [name for name, content in files().items() if _on_disk(name) != content]
    if "--check" in sys.argv[1:]:
        sys.exit(f"out of date: {', '.join(stale)}; run python deploy/grafana/build.py" if stale else 0)
    FOLDER.mkdir(exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(files()[name])
        print(FOLDER / name)


def _on_disk(name: str) -> str | None:
    file = FOLDER / name
    return file.read_text() if file.exists() else None


if __name__ == "__main__":
    main()
