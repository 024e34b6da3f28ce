"""The plain installation: what it can do without the libraries of any extra, and what it says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import secateur
from secateur.core.extras import EXTRA

ROOT = Path(secateur.__file__).parent
PROJECT = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())["project"]
MODULE_OF = {
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "rouge-score": "rouge_score",
}
PLAIN = {"torch", "numpy", "safetensors", "pydantic", "yaml", "typer", "rich"}
CARRIED = {
    "fontTools": "matplotlib", "huggingface_hub": "transformers", "tokenizers": "transformers",
}  # fmt: skip
"""Libraries that come with one that is named."""

BARE = f"import sys\nsys.modules.update(dict.fromkeys({sorted(EXTRA)}))\n"
"""What lets a process find none of them."""


def modules(requirements: list[str]) -> set[str]:
    """The top modules that requirements install."""
    names = {re.split(r"[<>=\[]", line)[0] for line in requirements}
    return {MODULE_OF.get(name, name.replace("-", "_")) for name in names}


def imported() -> set[str]:
    """The top module of every absolute import of the package."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names - {"secateur"}


def bare(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process that finds no library of an extra."""
    words = [sys.executable, "-c", BARE + code]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def test_what_is_imported_is_required_or_of_an_extra() -> None:
    assert modules(PROJECT["dependencies"]) == PLAIN
    assert imported() - PLAIN - set(EXTRA) == set()


def test_every_library_comes_with_the_extra_that_is_named() -> None:
    extras = {name: modules(lines) for name, lines in PROJECT["optional-dependencies"].items()}
    for library, extra in EXTRA.items():
        assert CARRIED.get(library, library) in extras[extra]


def test_the_plain_installation_prunes_takes_out_saves_loads_and_exports(tmp_path: Path) -> None:
    ran = bare(
        """
import torch, secateur as sc
net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
x, y = torch.randn(16, 6), torch.randint(2, (16,))
sc.prune(net, "snip", sparsity=0.5, data=(x, y), training=sc.preset("short"), val=(x, y))
small = sc.shrink(sc.prune(net, "group-norm", density=0.5, example=x), x)
sc.save(small, "small")
again = sc.load("small", model=torch.nn.Sequential(
    torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)))
assert torch.equal(again(x), small.model(x))
sc.measure(small.model, x, against=net, pairs=5, batch_sizes=(4,))
sc.export(small.model, "small.pt2", example=x)
print(again[0].out_features)
""",
        tmp_path,
    )
    assert ran.stdout.strip() == "4", ran.stderr
    assert (tmp_path / "small.pt2").is_file()


ASKED = [
    ("llm", "prune", "model", "--method", "wanda", "--sparsity", "0.5", "--out", "out"),
    ("image", "prune", "resnet8", "--method", "magnitude", "--sparsity", "0.5", "--out", "out"),
    ("llm", "trace", "model"),
    ("llm", "measure", "model"),
    ("llm", "export", "model", "--out", "model.onnx"),
]


def test_a_command_that_needs_an_extra_names_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    commands = [words for _, *words in ASKED]
    ran = bare(
        f"from secateur.cli.main import call\nprint(*[call(words) for words in {commands}])",
        tmp_path,
    )
    assert ran.stdout.split() == ["2"] * len(ASKED), ran.stderr
    for (extra, *_), said in zip(ASKED, ran.stderr.splitlines(), strict=True):
        assert said.startswith("secateur: ")
        assert f"pip install 'secateur[{extra}]'" in said
    assert not (tmp_path / "out").exists()
