"""Folded stacks to a picture: where the processor time of a drain goes, thread by thread.

    py-spy record --format raw --threads --rate 200 --output stacks.txt --pid PID
    python -m benchmarks.flamegraph stacks.txt docs/flamegraph.svg

Each box is a function, as wide as its share of the samples; below it is its caller, at the bottom the thread. Waiting
is left out, and so are the main thread, which measures, and what starts a thread.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Final

WIDTH: Final = 1200  # pixels
ROW: Final = 18
NARROWEST: Final = 0.8  # pixels; narrower boxes are left out
LETTER: Final = 6.2  # pixels of a letter at this size

# What starts every thread, the same for all and without cost of its own.
_BEGINNINGS: Final = re.compile(
    r"Thread\.(_bootstrap|_bootstrap_inner|run)\b|_worker \(concurrent|_WorkItem\.run|StreamRunner\._guard|"
    r"(StreamService\._run|StreamRunner\.run)\b"
)
# py-spy leaves out most of the waiting by itself.
_WAITING: Final = re.compile(r"^(?!service).*\((threading|queue|concurrent/\S+|selectors)\.py|^_worker \(")
_ROOMS: Final = {
    "service/alerts": "alerts",
    "service/photometry": "photometry",
    "service/store": "store",
    "service/inference": "inference",
    "service/stream": "stream",
}

_STYLE: Final = """
  svg { font: 11px sans-serif }
  rect { stroke: #fff; stroke-width: .5 }
  text { fill: #1b1f24 }
  .thread { fill: #d7dbe0 } .stream { fill: #9ec9f0 } .alerts { fill: #f3c98b } .photometry { fill: #e6dc82 }
  .store { fill: #a9d8a4 } .inference { fill: #d9b3e6 } .library { fill: #efefef }
  @media (prefers-color-scheme: dark) { svg { background: #fff } }
"""


@dataclass(slots=True)
class Frame:
    """A function as called from one place, with the samples that were in it or below it."""

    name: str
    room: str
    samples: int = 0
    calls: dict[str, Frame] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return 1 + max((callee.depth for callee in self.calls.values()), default=0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flamegraph", description=__doc__.partition("\n")[0])
    parser.add_argument("stacks", type=Path, help="as py-spy writes them with --format raw --threads")
    parser.add_argument("picture", type=Path, help="the SVG file to write")
    options = parser.parse_args(arguments)
    options.picture.write_text(draw(fold(options.stacks.read_text().splitlines())))


def fold(lines: Iterable[str]) -> Frame:
    """The tree of `thread;caller;...;callee samples` lines, without line numbers."""
    root = Frame("the service, draining", "thread")
    for line in lines:
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        name = thread.partition(": ")[2]
        if not name or name == "MainThread" or _WAITING.search(stack.rpartition(";")[2]):
            continue
        frames = [frame for frame in frames if not _BEGINNINGS.search(frame)]
        samples = int(count)
        root.samples += samples
        here = _below(root, re.sub(r"[_-]\d+$", "", name), "thread", samples)
        for frame in frames:
            function, _, place = frame.partition(" (")
            room = next((room for folder, room in _ROOMS.items() if folder in place), "library")
            here = _below(here, function if room != "library" else f"{function} ({_module(place)})", room, samples)
    return root


def draw(root: Frame) -> str:
    """An SVG that needs nothing from elsewhere; a box shows its name and share when pointed at."""
    height = (root.depth + 2) * ROW
    boxes = "\n".join(_boxes(root, 0.0, float(WIDTH), height - ROW, root.samples))
    legend = "".join(
        f'<rect class="{room}" x="{10 + 110 * place}" y="4" width="12" height="12"/>'
        f'<text x="{26 + 110 * place}" y="14">{room}</text>'
        for place, room in enumerate((*_ROOMS.values(), "library"))
    )
    widest = ", ".join(
        f"{thread.name} {100 * thread.samples / max(root.samples, 1):.0f} %"
        for thread in sorted(root.calls.values(), key=lambda frame: -frame.samples)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-labelledby="title desc">\n<title id="title">Where a drain spends its time</title>\n'
        f'<desc id="desc">Flame graph of the service\'s threads: {escape(widest)} of the samples.</desc>\n'
        f"<style>{_STYLE}</style>\n{legend}\n{boxes}\n</svg>\n"
    )


def _below(caller: Frame, name: str, room: str, samples: int) -> Frame:
    callee = caller.calls.setdefault(name, Frame(name, room))
    callee.samples += samples
    return callee


def _module(place: str) -> str:
    """numpy/lib/x.py:12) -> numpy; threading.py:1) -> threading"""
    path = place.partition(":")[0].rpartition("site-packages/")[2]
    return path.split("/")[0].removesuffix(".py")


def _boxes(frame: Frame, x: float, width: float, y: float, all_samples: int) -> Iterable[str]:
    share = f"{frame.name}: {100 * frame.samples / max(all_samples, 1):.1f} %"
    letters = int((width - 6) / LETTER)
    shown = frame.name if len(frame.name) <= letters else frame.name[: max(letters - 1, 0)] + "…"
    label = f'<text x="{x + 3:.1f}" y="{y + 13:.0f}">{escape(shown)}</text>' if letters >= 4 else ""
    yield (
        f'<g><title>{escape(share)}</title><rect class="{frame.room}" x="{x:.1f}" y="{y:.0f}" width="{width:.1f}"'
        f' height="{ROW - 1}"/>{label}</g>'
    )
    for callee in sorted(frame.calls.values(), key=lambda one: one.name):
        wide = width * callee.samples / max(frame.samples, 1)
        if wide >= NARROWEST:
            yield from _boxes(callee, x, wide, y - ROW, all_samples)
        x += wide


if __name__ == "__main__":
    main()
