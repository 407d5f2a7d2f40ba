"""The picture of docs/scale.md: time until the last node has the image, by the number of nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WIDTH, HEIGHT, MARGIN = 640, 360, 60
MOST_NODES, MOST_TIMES = 5000, 4.0
COLOURS = ("#1f5fa8", "#c05020", "#555555")


def draw(lines: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """An SVG; each line is (nodes, times S/B) by its name."""
    parts = [*_axes()]
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        path = " ".join(f"{_x(nodes):.1f},{_y(times):.1f}" for nodes, times in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        end = points[-1]
        parts.append(_text(name, x=_x(end[0]) - 6, y=_y(end[1]) - 8, anchor="end", colour=colour))
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"


def _axes() -> Iterable[str]:
    for nodes in (10, 100, 1000, 5000):
        yield _text(str(nodes), x=_x(nodes), y=HEIGHT - MARGIN + 18, anchor="middle")
    for times in range(5):
        y = _y(times)
        yield f'<line x1="{MARGIN}" x2="{WIDTH - 20}" y1="{y}" y2="{y}" stroke="#dddddd"/>'
        yield _text(str(times), x=MARGIN - 8, y=y + 4, anchor="end")
    yield _text("nodes", x=WIDTH / 2, y=HEIGHT - 16, anchor="middle")
    yield _text("last node, times S/B", x=MARGIN, y=24, anchor="start")


def _text(text: str, *, x: float, y: float, anchor: str, colour: str = "#333333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def _x(nodes: int) -> float:
    share = math.log10(nodes / 10) / math.log10(MOST_NODES / 10)
    return MARGIN + share * (WIDTH - MARGIN - 20)


def _y(times: float) -> float:
    return HEIGHT - MARGIN - times / MOST_TIMES * (HEIGHT - MARGIN - 40)
