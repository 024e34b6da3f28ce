"""`sc.export`: files that run without Secateur compute what the network computes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_models import build
from safetensors.torch import load_file
from saving.nets import Baked, mlp, outputs, resnet
from torch import Tensor, nn

import secateur as sc
from secateur.cli.main import call
from secateur.core.errors import PlanError, StorageError
from secateur.export import program
from secateur.export.gguf import logit_gap
from secateur.export.program import onnx_runner

IDS = torch.arange(2, 14).reshape(2, 6)
X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller network, masked on top."""
    small = sc.shrink(mlp(), X, keep={"0": [0, 2, 3, 5, 7]})
    masked = sc.prune(small.model, "magnitude", sparsity=0.3)
    folder = tmp_path_factory.mktemp("exports") / "a"
    return sc.save(masked, folder, architecture="saving.nets:mlp")


def test_pt2(artifact: Path, tmp_path: Path) -> None:
    made = sc.export(artifact, tmp_path / "m.pt2", trust=("saving",))
    assert (made.format, made.free_batch, made.difference) == ("pt2", True, 0.0)
    run = torch.export.load(made.path).module()
    model = sc.load(artifact, model=mlp())
    for batch in (1, 2, 7):
        x = torch.randn(batch, 3)
        assert torch.equal(run(x), outputs(model, x))


def test_onnx(artifact: Path, tmp_path: Path) -> None:
    made = sc.export(artifact, tmp_path / "m.onnx", trust=("saving",))
    assert made.free_batch
    model = sc.load(artifact, model=mlp())
    for batch in (1, 5):
        x = torch.randn(batch, 3)
        (found,) = onnx_runner(made.path)(((x,), {}))
        torch.testing.assert_close(found, outputs(model, x), atol=1e-6, rtol=0)


def test_state_dict(artifact: Path, tmp_path: Path) -> None:
    made = sc.export(artifact, tmp_path / "m.safetensors", trust=("saving",))
    model = sc.load(artifact, model=mlp())
    state = load_file(made.path)
    assert state.keys() == model.state_dict().keys()
    model.load_state_dict(state, strict=True)
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items())


def test_tied_weights_stand_twice_in_a_state_dict(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    made = sc.export(net, tmp_path / "m", to="state-dict")
    assert set(load_file(made.path)) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_a_network_that_became_a_graph(tmp_path: Path) -> None:
    shrunk = sc.shrink(Baked(), torch.randn(4, 3), keep={"inner#2": [0, 2]})
    made = sc.export(shrunk, tmp_path / "m.pt2")
    x = torch.randn(3, 3)
    assert torch.equal(torch.export.load(made.path).module()(x), outputs(shrunk.model, x))


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 3) @ torch.ones(3, 2)


def test_a_batch_size_that_is_fixed_is_said(tmp_path: Path) -> None:
    made = sc.export(FixedBatch(), tmp_path / "m.pt2", example=torch.ones(2, 3))
    assert made.free_batch is False
    assert "the example's batch size only" in str(made)


class Modulated(nn.Module):
    """Filters of each sample's own, as in StyleGAN: as many groups as samples."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.style = nn.Parameter(torch.randn(5, 4, 3, 3)), nn.Linear(2, 4)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        n, c, h, w = x.shape
        filters = self.weight * self.style(z).view(n, 1, c, 1, 1)
        out = torch.nn.functional.conv2d(
            x.reshape(1, n * c, h, w), filters.view(-1, c, 3, 3), padding=1, groups=n
        )
        return out.view(n, 5, h, w)


def test_onnx_without_a_form_for_any_batch_size_has_that_of_the_example(tmp_path: Path) -> None:
    net, x, z = Modulated().eval(), torch.randn(2, 4, 6, 6), torch.randn(2, 2)
    assert sc.export(net, tmp_path / "m.pt2", example=(x, z)).free_batch
    made = sc.export(net, tmp_path / "m.onnx", example=(x, z))
    assert not made.free_batch
    (found,) = onnx_runner(made.path)(((x, z), {}))
    torch.testing.assert_close(found, net(x, z).detach(), atol=1e-5, rtol=0)


class Decomposed(nn.Module):
    """An operator that ONNX has no words for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.qr(self.layer(x).T @ x).R


def test_what_onnx_cannot_say_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write this network: .*qr.* A \.pt2") as caught:
        sc.export(Decomposed(), tmp_path / "m.onnx", example=X)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_compiled_network_is_exported_as_the_one_inside(tmp_path: Path) -> None:
    made = sc.export(torch.compile(mlp()), tmp_path / "m.safetensors")
    assert load_file(made.path).keys() == mlp().state_dict().keys()


def test_a_file_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.pt2").write_bytes(b"older")
    monkeypatch.setattr(program, "tensors", lambda output: [output + 0.01])
    with pytest.raises(StorageError, match=r"computes something else .* nothing was written"):
        sc.export(mlp(), tmp_path / "m.pt2", example=X, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt2"]
    assert (tmp_path / "m.pt2").read_bytes() == b"older"


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


class TestBadInput:
    def test_control_flow_that_depends_on_values(self, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match=r"Undecided cannot be captured as a program: "):
            sc.export(Undecided(), tmp_path / "m.pt2", example=X)

    def test_no_example(self, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match="onnx needs an input to capture the network on"):
            sc.export(mlp(), tmp_path / "m.onnx")

    def test_formats(self, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match=r"'m\.bin' does not say its format; end it with \.pt2"):
            sc.export(mlp(), tmp_path / "m.bin")
        with pytest.raises(PlanError, match=r"unknown format .* 'onx'; did you mean 'onnx'"):
            sc.export(mlp(), tmp_path / "m.bin", to="onx")

    def test_places(self, tmp_path: Path) -> None:
        (tmp_path / "m.pt2").touch()
        with pytest.raises(StorageError, match=r"exists; name another file or pass overwrite=True"):
            sc.export(mlp(), tmp_path / "m.pt2", example=X)
        with pytest.raises(StorageError, match=r"does not exist; create it first"):
            sc.export(mlp(), tmp_path / "no" / "m.pt2", example=X)
        with pytest.raises(StorageError, match=r"is a folder; name a file"):
            sc.export(mlp(), tmp_path, to="pt2", example=X)

    def test_gguf_needs_a_tokenizer_and_a_language_model(
        self, tmp_path: Path, tokenizer: Any
    ) -> None:
        with pytest.raises(PlanError, match=r"GGUF holds a tokenizer; pass tokenizer="):
            sc.export(mlp(), tmp_path / "m.gguf")
        with pytest.raises(PlanError, match=r"configuration is needed"):
            sc.export(mlp(), tmp_path / "m.gguf", tokenizer=tokenizer)


class TestCommand:
    def test_it_writes_and_says_what(
        self, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["export", str(artifact), "--out", str(tmp_path / "m.pt2"), "--trust", "saving"]
        assert call(words) == 0
        assert "pt2, " in (said := capsys.readouterr().out)
        assert "any batch size" in said
        assert call(words) == 2
        assert "exists; name another file" in capsys.readouterr().err
        assert call([*words, "--overwrite"]) == 0

    def test_an_artifact_that_is_none(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert call(["export", str(tmp_path), "--out", str(tmp_path / "m.pt2")]) == 2
        assert "it is no artifact" in capsys.readouterr().err


def test_a_folder_of_transformers(tmp_path: Path, tokenizer: Any) -> None:
    """Read tensor by tensor for GGUF, as a model for the rest."""
    model = build("llama")
    model.save_pretrained(tmp_path / "stock")
    tokenizer.save_pretrained(tmp_path / "stock")
    folder = sc.save(model, tmp_path / "own", tokenizer=tokenizer)
    one = sc.export(tmp_path / "stock", tmp_path / "a.gguf")
    two = sc.export(folder, tmp_path / "b.gguf")
    assert one.bytes == two.bytes
    assert logit_gap(one.path, model, IDS) == logit_gap(two.path, model, IDS) < 1e-4
    plain = sc.export(tmp_path / "stock", tmp_path / "a.safetensors")
    assert load_file(plain.path).keys() == model.state_dict().keys()
    (tmp_path / "stock" / "model.safetensors").write_bytes(b"none")
    with pytest.raises(StorageError, match=r"the model in .* cannot be read"):
        sc.export(tmp_path / "stock", tmp_path / "b.safetensors")
    (tmp_path / "stock" / "config.json").write_text("{")
    with pytest.raises(StorageError, match=r"the configuration in .* cannot be read"):
        sc.export(tmp_path / "stock", tmp_path / "b.safetensors")


def test_the_program_runs_where_secateur_is_not(tmp_path: Path) -> None:
    """Level D and all: only torch is needed."""
    import subprocess

    shrunk = sc.shrink(Baked(), torch.randn(4, 3), keep={"inner#2": [0, 2]})
    made = sc.export(shrunk, tmp_path / "m.pt2")
    code = (
        "import sys; sys.modules['secateur'] = None; import torch; "
        f"print(tuple(torch.export.load({str(made.path)!r}).module()(torch.ones(5, 3)).shape))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(5, 2)", done.stderr[-2000:]


def test_a_convolutional_network_from_its_artifact(tmp_path: Path) -> None:
    """The example is remembered, and built anew from its shape."""
    model, x = resnet()
    result = sc.prune(model, "group-norm", density=0.5, example=x)
    folder = sc.save(sc.shrink(result, x), tmp_path / "a")
    made = sc.export(folder, tmp_path / "m.pt2")
    assert made.free_batch
    assert made.difference == 0


class Bagged(nn.Module):
    """Bags of words, of which the first begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(9, 6), nn.Linear(6, 2)

    def forward(self, words: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
        return self.head(self.words(words, begin))


def test_an_example_of_which_the_shapes_are_not_enough_is_asked_for(tmp_path: Path) -> None:
    example = (torch.arange(8), torch.tensor([0, 3, 5]))
    small = sc.shrink(Bagged(), example, keep={"words": [0, 2, 5]})
    with pytest.raises(PlanError, match=r"Bagged does not run on .* integers all 1: .*example="):
        sc.export(small, tmp_path / "bags.pt2")
    assert sc.export(small, tmp_path / "bags.pt2", example=example).path.exists()


class Noisy(nn.Module):
    """A network that draws numbers as it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(torch.relu(x + torch.randn_like(x)))


def test_a_network_that_draws_numbers_is_compared_on_the_same_ones(tmp_path: Path) -> None:
    made = sc.export(Noisy(), tmp_path / "noisy.pt2", example=torch.randn(3, 6))
    assert made.difference < 1e-6


def test_a_network_that_draws_numbers_is_refused_as_onnx_with_that_reason(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"it draws random numbers \(aten\.randn_like.*\.pt2"):
        sc.export(Noisy(), tmp_path / "m.onnx", example=torch.randn(3, 6))
    assert not (tmp_path / "m.onnx").exists()
