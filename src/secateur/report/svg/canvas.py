"""A drawing surface that writes SVG.

Colours are given as roles. A role sets both a class, which the page's style sheet can restyle for
dark mode, and the plain colour, which is what a PDF or another program sees.
"""

from __future__ import annotations

from html import escape

from .. import style

FONT = (
    "'Inter', 'Segoe UI', 'Helvetica Neue', 'Secateur Korean', 'Pretendard', 'Apple SD Gothic Neo', "
    "'Malgun Gothic', 'Noto Sans KR', 'Noto Sans CJK KR', 'NanumGothic', 'Liberation Sans', Arial, "
    "sans-serif"
)

ROLES: dict[str, dict[str, str]] = {
    "ink": {"fill": style.INK},
    "muted": {"fill": style.MUTED},
    "axis": {"stroke": style.AXIS, "fill": "none"},
    "grid": {"stroke": style.GRID, "fill": "none"},
    "dense": {"stroke": style.MUTED, "fill": "none"},
    "lost": {"stroke": style.LOST, "fill": "none"},
}


def role(name: str) -> dict[str, str]:
    """Attributes of a role: a name of `ROLES`, or `s3` (stroke) and `f3` (fill) of a slot."""
    if name in ROLES:
        return {"class": name, **ROLES[name]}
    slot = int(name[1:])
    colour = style.colour(slot)
    paint = {"stroke": colour, "fill": "none"} if name[0] == "s" else {"fill": colour}
    return {"class": f"{name[0]}{slot % len(style.SERIES)}", **paint}


class Canvas:
    """Shapes in the order they are drawn.

    Args:
        width, height: in CSS pixels; the drawing scales with the page.
        font: family list for all text.
    """

    def __init__(self, width: float, height: float, font: str = FONT) -> None:
        self.width, self.height, self.font = width, height, font
        self._parts: list[str] = []

    def add(self, tag: str, kind: str = "", text: str | None = None, **attributes: object) -> None:
        """One shape with the looks of role `kind`; `_` in attribute names becomes `-`."""
        self._draw(tag, kind, text, attributes)

    def _draw(self, tag: str, kind: str, text: str | None, attributes: dict[str, object]) -> None:
        merged = {**(role(kind) if kind else {}), **attributes}
        written = "".join(
            f' {k.replace("_", "-")}="{_value(v)}"' for k, v in merged.items() if v != ""
        )
        self._parts.append(
            f"<{tag}{written}/>" if text is None else f"<{tag}{written}>{text}</{tag}>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, **more: object) -> None:
        """A straight line."""
        self._draw("line", kind, None, {"x1": x1, "y1": y1, "x2": x2, "y2": y2, **more})

    def text(
        self,
        x: float,
        y: float,
        words: str,
        kind: str = "ink",
        anchor: str = "start",
        **more: object,
    ) -> None:
        """Text; `anchor` is start, middle or end."""
        plain = {} if anchor == "start" else {"text_anchor": anchor}
        self._draw("text", kind, escape(words), {"x": x, "y": y, **plain, **more})

    def marker(self, x: float, y: float, slot: int, tip: str = "", scale: float = 1.0) -> None:
        """The marker of a slot, with a tooltip."""
        title = f"<title>{escape(tip)}</title>" if tip else ""
        shrink = f" scale({_value(scale)})" if scale != 1 else ""
        place = f"translate({_value(x)} {_value(y)}){shrink}"
        self.add("path", f"f{slot}", title, d=style.marker(slot), transform=place)

    def cross(self, x: float, y: float, kind: str, tip: str = "", size: float = 4) -> None:
        """A saltire: something that is gone."""
        title = f"<title>{escape(tip)}</title>" if tip else ""
        left, right, top, low = (_value(v) for v in (x - size, x + size, y - size, y + size))
        shape = f"M{left} {top}L{right} {low}M{right} {top}L{left} {low}"
        self.add("path", kind, title, d=shape, stroke_width=1.8, stroke_linecap="round")

    def svg(self, id: str, title: str, description: str) -> str:
        """The whole drawing; `title` and `description` are what a screen reader says."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_value(self.width)} '
            f'{_value(self.height)}" role="img" aria-labelledby="{id}-t {id}-d" '
            f'font-family="{escape(self.font)}" font-size="11">'
            f'<title id="{id}-t">{escape(title)}</title><desc id="{id}-d">{escape(description)}</desc>'
            f"{''.join(self._parts)}</svg>"
        )

    def bare(self) -> str:
        """The drawing as an ornament that screen readers pass over."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_value(self.width)}" '
            f'height="{_value(self.height)}" viewBox="0 0 {_value(self.width)} '
            f'{_value(self.height)}" aria-hidden="true">{"".join(self._parts)}</svg>'
        )


def _value(value: object) -> str:
    """Numbers with at most two decimals; everything else escaped."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(str(value))


def text_width(words: str, size: float = 11) -> float:
    """About how wide text is: Hangul and other wide letters take a whole em."""
    return sum(size * (0.95 if ord(letter) > 0x2E80 else 0.56) for letter in words)


def shorten(words: str, width: float, size: float = 11) -> str:
    """Text that fits, with its middle left out where it must be.

    >>> shorten("layer1.0.conv1", 40)
    'lay…v1'
    """
    if text_width(words, size) <= width:
        return words
    for keep in range(len(words) - 1, 1, -1):
        head = (keep + 1) // 2
        short = f"{words[:head]}…{words[len(words) - keep + head :]}"
        if text_width(short, size) <= width:
            return short
    return "…"
