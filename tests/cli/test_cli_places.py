"""Where results cannot go, and files that are no study: one line, exit code 2, nothing touched."""

from __future__ import annotations

from pathlib import Path

import pytest

import secateur as sc
from secateur.cli.main import call
from secateur.models import build_seeded

STUDY = """name: places
network: {spec: resnet8, options: {width: 2}}
data: {source: digits}
training: {preset: short, length: 1it, batch_size: 8}
seeds: [0]
runs: [{method: magnitude, options: {sparsity: 0.5}}]
"""


BUILT = "prune resnet8 --method magnitude --out new"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, a file and studies, of a name with a space and Hangul."""
    folder = tmp_path_factory.mktemp("여기 here")
    net = build_seeded("resnet8", 0, num_classes=10, in_channels=1, image_size=8, width=2)
    sc.save(sc.prune(net, "magnitude", sparsity=0.5), folder / "net")
    (folder / "link").symlink_to(folder / "net", target_is_directory=True)
    (folder / "file").write_text("x")
    (folder / "nets.py").write_text("def broken():\n    raise ValueError('oh')\n")
    (folder / "study.yaml").write_text(STUDY)
    (folder / "latin.yaml").write_bytes("name: café\n".encode("latin-1"))
    (folder / "schema.yaml").write_text("schema: new\n" + STUDY)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("prune net --method magnitude --out net", "it lies in 'net', the network's own folder"),
        ("prune net --method magnitude --out net/in/side", "it lies in 'net'"),
        ("prune link --method magnitude --out net/inside", "it lies in 'link'"),
        ("prune net --method magnitude --out link", "it lies in 'net'"),
        ("prune resnet8 --method magnitude --out net", "it is a network's folder"),
        ("prune resnet8 --method magnitude --out file", "'file' is a file; name a folder"),
        ("prune resnet8 --method magnitude --out file/sub/sub", "'file' is a file; name a folder"),
        ("run study.yaml --out net", "it is a network's folder"),
        ("run study.yaml --out file/sub", "'file' is a file"),
        ("run study.yaml --out new --lang fr", "unknown report language 'fr'"),
        ("run study.yaml --out new --checkpoint-seconds -1", "--checkpoint-seconds"),
        ("run latin.yaml --out new", "'latin.yaml' is no text in UTF-8 (byte 10)"),
        (
            f"{BUILT} --network-option width=abc",
            "counts width in whole numbers from 1 on, not 'abc'",
        ),
        (f"{BUILT} --network-option width=0", "counts width in whole numbers from 1 on, not 0"),
        ("prune nets:broken --method magnitude --out new", "built with no options: ValueError: oh"),
        ("run schema.yaml --out new", "schema 'new', which is no version; write 1"),
    ],
)
def test_refused_before_any_work(
    words: str, said: str, here: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(here)
    before = files(here)
    assert call([*words.split(), *(["--sparsity", "0.5"] if "prune" in words else [])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert files(here) == before


def test_a_place_of_another_script_with_spaces_is_as_good_as_any(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    assert call(["run", "study.yaml", "--out", "새 결과/안"]) == 0
    assert call(["run", str(here / "study.yaml"), "--out", str(here / "새 결과/안")]) == 0
    assert (here / "새 결과/안/experiment.json").is_file()


def test_an_interrupted_command_says_that_it_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(here)
    monkeypatch.setattr("secateur.experiments.runner.Runner.run", interrupted)
    assert call(["run", "study.yaml", "--out", "later"]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "secateur: stopped; the same command goes on from here"
