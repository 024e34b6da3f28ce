"""The page in a real browser: no console message, no text over text, nothing wider than the screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

from secateur.report.html import page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="needs Chromium (Debian: apt-get install chromium)"
)

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--no-first-run", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--enable-logging=stderr", "--v=0", "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip

INSPECT = """
<script>
const shown = [...document.querySelectorAll("svg[role=img]")].filter(s => s.getClientRects().length);
const overlaps = [], outside = [];
for (const svg of shown) {
  const box = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
  texts.forEach(([a, r], i) => {
    if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1)
      outside.push(a);
    for (const [b, q] of texts.slice(i + 1))
      if (Math.min(r.right, q.right) - Math.max(r.left, q.left) > 1 &&
          Math.min(r.bottom, q.bottom) - Math.max(r.top, q.top) > 3) overlaps.push([a, b]);
  });
}
const size = (svg, text) => parseFloat(getComputedStyle(text).fontSize)
  * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
const told = {
  shown: shown.length, overlaps, outside,
  wide: document.documentElement.scrollWidth - window.innerWidth,
  least: Math.min(...shown.flatMap(s => [...s.querySelectorAll("text")].map(t => size(s, t)))),
};
document.body.dataset.told = JSON.stringify(told);
</script>
"""


@dataclass(frozen=True)
class Seen:
    """What the browser said and what the page looked like in it."""

    console: list[str]
    told: dict


def look(path: Path, content: str, width: int, profile: Path) -> Seen:
    """Open a copy of the page that measures itself."""
    path.write_text(content.replace("</body>", INSPECT + "</body>"), encoding="utf-8")
    command = [
        str(BROWSER), *OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},900",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = re.search(r'data-told="(.*?)"', done.stdout)
    assert told, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(console, json.loads(unescape(told.group(1))))


@pytest.mark.parametrize(("lang", "width"), [("en", 1200), ("ko", 390)])
def test_the_page_opens_clean(tmp_path, document, document_ko, lang, width):
    chosen = document if lang == "en" else document_ko
    seen = look(tmp_path / "a.html", page(chosen), width, tmp_path / "profile")
    assert seen.console == []
    assert seen.told["shown"] == len(chosen.figures())
    assert seen.told["overlaps"] == []
    assert seen.told["outside"] == []
    assert seen.told["wide"] <= 0
    assert seen.told["least"] >= 9


def test_a_broken_page_is_noticed(tmp_path):
    bad = (
        "<body style='width:3000px'><svg role=img viewBox='0 0 100 20' width=100><text y=10>one</text>"
        "<text y=10 x=90>two</text><text y=10 x=2>three</text></svg><script>nothing()</script></body>"
    )
    seen = look(tmp_path / "b.html", bad, 800, tmp_path / "profile")
    assert len(seen.console) == 1
    assert ["one", "three"] in seen.told["overlaps"]
    assert "two" in seen.told["outside"]
    assert seen.told["wide"] > 1000
