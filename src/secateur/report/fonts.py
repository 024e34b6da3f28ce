"""Find a font with Korean letters for PDF, where a missing one would print empty boxes."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import PlanError

LETTER = "한"
FAMILY = "Secateur Korean"
BUNDLED = {400: "NanumGothic.ttf", 700: "NanumGothicBold.ttf"}
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


def korean() -> Font:
    """The font of the package koreanize-matplotlib or, without it, one of the system's."""
    return _bundled() or _installed()


def _bundled() -> Font | None:
    """Only the package's files are used; importing it would change matplotlib's settings."""
    found = importlib.util.find_spec("koreanize_matplotlib")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations))) / "fonts"
    files = {weight: folder / name for weight, name in BUNDLED.items() if (folder / name).exists()}
    return Font(files) if files else None


def _installed() -> Font:
    for path in _files():
        if any(word in path.name.lower() for word in LIKELY) and covers(path):
            return Font({400: path})
    raise PlanError(
        "a PDF in Korean needs a font with Korean letters and none was found; install one, e.g. "
        "pip install 'secateur[report]' (brings NanumGothic) or the system package fonts-nanum"
    )


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
