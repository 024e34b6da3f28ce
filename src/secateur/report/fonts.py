"""A font with Korean letters, where a missing one would show empty boxes: in PDF and in the page."""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import PlanError

LETTER = "한"
FAMILY = "Secateur Korean"
BUNDLED = {400: "NanumGothic.ttf", 700: "NanumGothicBold.ttf"}
HANGUL = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3))
"""Letters on their own, those of the compatibility block, and syllables."""
RANGE = ", ".join(f"U+{low:X}-{high:X}" for low, high in HANGUL)
LIKELY = ("nanum", "noto", "cjk", "malgun", "gothic", "pretendard", "batang", "gulim", "un", "kr")


@dataclass(frozen=True)
class Font:
    """Weights and their files."""

    files: dict[int, Path]

    def faces(self) -> str:
        """`@font-face` rules that make the files known under one name."""
        rules = (
            f'@font-face {{ font-family: "{FAMILY}"; font-weight: {weight}; '
            f"src: url({path.resolve().as_uri()}); }}"
            for weight, path in self.files.items()
        )
        return "\n".join(rules)

    def embedded(self, text: str) -> str:
        """`@font-face` rules that hold the Korean letters of `text` themselves."""
        letters = sorted({ord(c) for c in text if _is_hangul(c)})
        rules = (
            f'@font-face {{ font-family: "{FAMILY}"; font-weight: {weight}; unicode-range: {RANGE}; '
            f"src: url(data:font/woff;base64,{_subset(path, letters)}) format('woff'); }}"
            for weight, path in self.files.items()
        )
        return "\n".join(rules) if letters else ""


def korean() -> Font:
    """The font of the package koreanize-matplotlib or, without it, one of the system's."""
    found = find()
    if found is None:
        raise PlanError(
            "a PDF in Korean needs a font with Korean letters and none was found; install one, e.g. "
            "pip install 'secateur[report]' (brings NanumGothic) or the system package fonts-nanum"
        )
    return found


def find() -> Font | None:
    """The same, or None where there is none."""
    return _bundled() or _installed()


def _is_hangul(letter: str) -> bool:
    return any(low <= ord(letter) <= high for low, high in HANGUL)


def _subset(path: Path, letters: list[int]) -> str:
    """A WOFF file with the glyphs of these letters, in base64; the same bytes each time."""
    from fontTools import subset

    options = subset.Options(flavor="woff", layout_features=[], notdef_outline=True, hinting=False)
    with subset.load_font(str(path), options) as font:
        font.recalcTimestamp = False
        chosen = subset.Subsetter(options)
        chosen.populate(unicodes=letters)
        chosen.subset(font)
        out = io.BytesIO()
        subset.save_font(font, out, options)
    return base64.b64encode(out.getvalue()).decode()


def _bundled() -> Font | None:
    """Only the package's files are used; importing it would change matplotlib's settings."""
    found = importlib.util.find_spec("koreanize_matplotlib")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations))) / "fonts"
    files = {weight: folder / name for weight, name in BUNDLED.items() if (folder / name).exists()}
    return Font(files) if files else None


def _installed() -> Font | None:
    for path in _files():
        if any(word in path.name.lower() for word in LIKELY) and covers(path):
            return Font({400: path})
    return None


def covers(path: Path, letter: str = LETTER) -> bool:
    """Whether the font file has a glyph for `letter`; a file that is no font has none."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(path, lazy=True) as font:
            return ord(letter) in font.getBestCmap()
    except (TTLibError, OSError):
        return False


def _files() -> Iterator[Path]:
    """TrueType and OpenType files in the places where systems keep fonts."""
    for folder in _folders():
        yield from sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".ttf", ".otf"))


def _folders() -> list[Path]:
    home = Path.home()
    places = {
        "win32": [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"],
        "darwin": [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"],
    }
    linux = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts"]
    return [folder for folder in places.get(sys.platform, linux) if folder.is_dir()]
