"""What cannot be traced is one clear error, from Python and from the command line; the model is untouched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.cli.inputs import example_of
from secateur.cli.main import call
from secateur.core.errors import PlanError, SecateurError

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


def pair() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("example", "says"),
    [
        (torch.zeros(2, 4), r"does not run on the example \(2 x 4 float32\).*Remedy"),
        (torch.zeros(2, 3, dtype=torch.long), r"does not run on the example \(2 x 3 int64\)"),
        ((X, X), r"does not run on the example \(2 x 3 float32, 2 x 3 float32\)"),
        ({"y": X}, r"does not run on the example \(y 2 x 3 float32\)"),
        ("images", r"holds no tensor \(str\)"),
        ((), r"holds no tensor \(it is empty\)"),
        (X[:0], r"the example is empty \(0 x 3 float32\)"),
        (X.to("meta"), "example lies on meta, the model on cpu. Remedy: move the example"),
        (None, "needs an input; pass example="),
    ],
)
@pytest.mark.parametrize("act", [sc.trace, sc.shrink])
def test_an_example_of_the_wrong_kind(
    act: Callable[..., object], example: object, says: str
) -> None:
    model = pair().train()
    before = state(model)
    with pytest.raises(SecateurError, match=says):
        act(model, example)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(m.training for m in model.modules())


def test_a_model_on_several_devices() -> None:
    model = pair()
    model[3].to("meta")
    with pytest.raises(
        SecateurError, match=r"several devices: cpu \('0.weight'\), meta \('3.weight'\)"
    ):
        sc.trace(model, X)


def test_what_is_no_model() -> None:
    with pytest.raises(SecateurError, match="given function"):
        sc.trace(lambda x: x, X)  # type: ignore[arg-type]


def test_a_model_in_training_mode_is_traced_as_it_is_used_and_stays_in_training() -> None:
    model = pair().train()
    model[2].eval()
    assert [a.name for a in sc.trace(model, X)] == ["0"]
    assert sc.shrink(model, X, keep={"0": range(3)}).record["difference"] == 0.0
    assert [m.training for m in model] == [True, True, False, True]


def test_shared_parameters_go_together() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    model[2].weight = model[0].weight
    assert not [a for a in sc.trace(model, torch.randn(2, 6)) if a.name == "0"]
    autoencoder = nn.Sequential(nn.Linear(3, 8, bias=False), nn.ReLU(), Transposed(nn.Linear(3, 8)))
    autoencoder[2].of.weight = autoencoder[0].weight
    small = sc.shrink(autoencoder, X, keep={"0": [1, 4]}).model
    assert small[0].weight is small[2].of.weight
    assert small[0].weight.shape == (2, 3)


class Transposed(nn.Module):
    """A layer applied backwards."""

    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.of.weight


@pytest.mark.parametrize("name", ["conv1", "1"])
def test_a_structure_that_does_not_exist(name: str) -> None:
    with pytest.raises(PlanError, match=f"unknown structure '{name}'"):
        sc.shrink(pair(), X, keep={name: [0]})
    with pytest.raises(PlanError, match=f"unknown structure '{name}'"):
        sc.structure.Coupled(include=(name,)).targets(pair(), X)


class TestCommand:
    def said(self, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        """The one line a mistake is told in."""
        assert call(["trace", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["resnet8", "--input", "2x5x8"], r"does not run on the example \(2 x 5 x 8"),
            (["resnet8", "--input", "2xa"], "'2xa' is no input; write sizes"),
            (["resnet8", "--input", "2x3:int9"], "unknown type of input 'int9'"),
            (["resnet8", "--input", "2x3", "--input", "x=2x3"], "either every --input has a name"),
            (["resnet8", "--output", "logits"], "unknown output 'logits'. Allowed: 0"),
            (["resnet8", "--seconds", "0.001"], "longer than 0.001 seconds. Remedy"),
            (["resent8"], "did you mean 'resnet8'"),
            (["."], "holds no config.json"),
        ],
    )
    def test_mistakes_are_one_line(
        self,
        words: list[str],
        says: str,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert re.search(says, self.said(capsys, *words))

    def test_an_input_of_ones_own_shape(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call(["trace", "resnet8", "--input", "2x1x16x16", "--output", "0"]) == 0
        assert "layer1.0.conv1" in capsys.readouterr().out

    def test_a_folder_is_traced_without_its_weights(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
        config |= {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 2}
        config |= {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert call(["trace", str(tmp_path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        name = "model.layers.{0-1}.self_attn.q_proj.heads"
        (heads,) = [line for line in lines if line.startswith(name)]
        assert heads.split()[1:6] == ["heads", "8", "4", "5,242,880", "168,296,448"]
        note = heads.split()[-1]
        assert f"{note} a key-value head with its 4 query heads" in lines


def test_inputs_by_name_and_type() -> None:
    tokens, mask = example_of(["2x3:int64", "2x3:bool"])
    assert (tokens.dtype, mask.dtype, tokens.shape) == (torch.int64, torch.bool, (2, 3))
    assert list(example_of(["a=1", "b=2x2"])) == ["a", "b"]
