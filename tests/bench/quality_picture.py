"""The picture of docs/scheduling.md: one small panel per workflow shape, as plain SVG."""

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 270, 170
LEFT, TOP, RIGHT, BOTTOM = 34, 26, 10, 26
COLUMNS = 3
HEAD = 58
HIGHEST = 1.8
"""Top of every panel, so that they compare."""
STYLES = {
    "longest remaining path": ("#1b6ca8", 2.4, ""),
    "first ready, first served": ("#d1782a", 1.6, ""),
    "random order": ("#8a8f98", 1.6, "4 3"),
    "sharper bound": ("#222222", 1.2, "1 3"),
}


def draw(panels: Mapping[str, Mapping[str, Sequence[float]]], executors: Sequence[int]) -> str:
    """Panels by shape; per panel the ratio per number of executors for every line."""
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * WIDTH + 20, HEAD + rows * HEIGHT + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<text x="12" y="20" font-size="14">Makespan over max(critical path, work / M), workflows of 300 tasks</text>',
    ]
    x = 12.0
    for name, (color, stroke, dashes) in STYLES.items():
        parts.append(_line([(x, 40), (x + 26, 40)], color, stroke, dashes))
        parts.append(f'<text x="{x + 32}" y="44">{name}</text>')
        x += 50 + 6.2 * len(name)
    for at, (shape, lines) in enumerate(panels.items()):
        parts += _panel(shape, lines, executors, 10 + at % COLUMNS * WIDTH, HEAD + at // COLUMNS * HEIGHT)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    shape: str, lines: Mapping[str, Sequence[float]], executors: Sequence[int], left: float, top: float
) -> list[str]:
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(index: int, ratio: float) -> tuple[float, float]:
        x = left + LEFT + inner_width * index / (len(executors) - 1)
        return x, top + TOP + inner_height * (1 - (min(ratio, HIGHEST) - 1) / (HIGHEST - 1))

    parts = [f'<text x="{left + LEFT}" y="{top + 16}" font-weight="bold">{shape}</text>']
    for tick in (1.0, 1.2, 1.4, 1.6, 1.8):
        (start, y), (end, _) = at(0, tick), at(len(executors) - 1, tick)
        parts.append(_line([(start, y), (end, y)], "#e3e5e8", 1, ""))
        parts.append(f'<text x="{start - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{tick:.1f}</text>')
    for index, count in enumerate(executors):
        x, y = at(index, 1.0)
        parts.append(
            f'<text x="{x:.1f}" y="{y + 15:.1f}" text-anchor="middle" fill="#555">{"M=" * (not index)}{count}</text>'
        )
    for name in reversed(STYLES):
        color, stroke, dashes = STYLES[name]
        parts.append(_line([at(index, ratio) for index, ratio in enumerate(lines[name])], color, stroke, dashes))
    return parts


def _line(points: Sequence[tuple[float, float]], color: str, width: float, dashes: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"{dash}/>'
