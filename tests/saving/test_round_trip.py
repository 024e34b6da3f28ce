"""What is saved comes back: weights to the bit, masks in force, removals carried out again."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from saving.nets import Baked, Nested, mlp, outputs, resnet, same_bits
from torch import nn

import secateur as sc
from secateur.artifact.manifest import read_manifest
from secateur.core.errors import PlanError, StorageError
from secateur.core.origin import origin_of
from secateur.materialise import HardMasks
from secateur.models import build_seeded


def test_a_masked_network_comes_back_and_its_zeros_hold(tmp_path: Path) -> None:
    dense, x = resnet()
    result = sc.prune(dense, "magnitude", sparsity=0.9)
    model = sc.load(sc.save(result, tmp_path / "out"))
    assert same_bits(model, result.model)
    assert torch.equal(outputs(model, x), outputs(result.model, x))
    masks = HardMasks.of(model).masks
    assert masks.keys() == result.masks.keys()
    assert all(torch.equal(masks[n], result.masks[n]) for n in masks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    state = model.state_dict()
    assert any(not torch.equal(state[n], before[n]) for n in masks)
    assert all(int(torch.count_nonzero(state[n][~mask])) == 0 for n, mask in masks.items())


def test_a_sparse_resnet18_takes_under_a_fifth(tmp_path: Path) -> None:
    dense = build_seeded("resnet18", 0, num_classes=10, in_channels=3, image_size=32)
    result = sc.prune(dense, "magnitude", sparsity=0.9)
    folder = sc.save(result, tmp_path / "out")
    whole = sum(t.numel() * t.element_size() for t in dense.state_dict().values())
    assert sum(file.stat().st_size for file in folder.iterdir()) < 0.2 * whole
    assert same_bits(sc.load(folder), result.model)


def test_a_smaller_network_comes_back(tmp_path: Path) -> None:
    dense, x = resnet()
    shrunk = sc.shrink(sc.prune(dense, "group-norm", density=0.5, example=x), x)
    folder = sc.save(shrunk, tmp_path / "out")
    model = sc.load(folder)
    assert same_bits(model, shrunk.model)
    assert str(model) == str(shrunk.model)
    assert torch.equal(outputs(model, x), outputs(shrunk.model, x))
    given = sc.load(folder, model=resnet()[0])
    assert torch.equal(outputs(given, x), outputs(shrunk.model, x))


def test_removals_one_after_another_masks_on_top_and_saved_again(tmp_path: Path) -> None:
    dense, x = resnet()
    first = sc.shrink(sc.prune(dense, "group-norm", density=0.5, example=x), x)
    again = sc.load(sc.save(first.model, tmp_path / "first"))
    second = sc.shrink(sc.prune(again, "group-norm", density=0.5, example=x), x)
    masked = sc.prune(second.model, "magnitude", sparsity=0.5)
    model = sc.load(sc.save(masked, tmp_path / "second"))
    assert same_bits(model, masked.model)
    origin = origin_of(model)
    assert origin is not None
    assert len(origin.edits) == 2
    assert len(HardMasks.of(model).masks) == len(masked.masks)
    assert origin.source == read_manifest(tmp_path / "first").provenance.source != ""
    assert same_bits(sc.load(sc.save(model, tmp_path / "third")), model)


@pytest.mark.parametrize(("kind", "level"), [(Baked, "D"), (Nested, "C")])
def test_a_network_that_became_a_graph_is_traced_again(
    tmp_path: Path, kind: type[nn.Module], level: str
) -> None:
    model, x = kind(), torch.randn(4, 3)
    shrunk = sc.shrink(model, x, keep={"inner#2" if level == "D" else "part.inner#2": [0, 2]})
    assert shrunk.record["level"] == level
    folder = sc.save(shrunk, tmp_path / "out", architecture=kind)
    loaded = sc.load(folder, trust=("saving",))
    assert same_bits(loaded, shrunk.model)
    assert torch.equal(outputs(loaded, x[:3]), outputs(shrunk.model, x[:3]))
    unwritten = kind()  # as memory may be that nothing was put into
    for parameter in unwritten.parameters():
        nn.init.constant_(parameter, torch.nan)
    assert torch.equal(outputs(sc.load(folder, model=unwritten), x), outputs(shrunk.model, x))


def test_a_network_in_double_precision_is_traced_again_in_it(tmp_path: Path) -> None:
    model, x = Nested().double(), torch.randn(4, 3).double()
    shrunk = sc.shrink(model, x, keep={"part.inner#2": [0, 2]})
    assert shrunk.record["level"] == "C"
    loaded = sc.load(sc.save(shrunk, tmp_path / "out", architecture=Nested), trust=("saving",))
    assert same_bits(loaded, shrunk.model)
    assert torch.equal(outputs(loaded, x), outputs(shrunk.model, x))


class TestArchitectures:
    def test_without_one_a_stock_network_is_needed(self, tmp_path: Path) -> None:
        shrunk = sc.shrink(mlp(), torch.zeros(2, 3), keep={"0": [1, 2, 5]})
        folder = sc.save(shrunk, tmp_path / "out")
        with pytest.raises(StorageError, match=r"does not say how its network .*; pass model="):
            sc.load(folder)
        fresh = mlp()
        assert same_bits(sc.load(folder, model=fresh), shrunk.model)
        assert fresh[0].out_features == 8  # a copy was used

    def test_a_function_is_only_called_where_its_package_is_trusted(self, tmp_path: Path) -> None:
        folder = sc.save(
            sc.prune(mlp(), "magnitude", sparsity=0.5), tmp_path / "o", architecture=mlp
        )
        with pytest.raises(StorageError, match=r"built by saving.nets:mlp.*trust=\('saving',\)"):
            sc.load(folder)
        assert sc.load(folder, trust=("saving",))[0].out_features == 8

    def test_one_that_cannot_be_named(self, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match="cannot be named in a file"):
            sc.save(mlp(), tmp_path / "out", architecture=lambda: mlp())
        with pytest.raises(PlanError, match="cannot be named in a file"):
            sc.save(mlp(), tmp_path / "out", architecture=mlp, arguments={"a": object()})
        assert not (tmp_path / "out").exists()

    def test_one_whose_code_is_gone(self, tmp_path: Path) -> None:
        folder = sc.save(mlp(), tmp_path / "out", architecture=mlp)
        for old, new, words in (
            ("saving.nets:mlp", "nobody.nets:mlp", "cannot be imported.*install its package"),
            ("saving.nets:mlp", "saving.nets:mpl", "has no 'mpl' any more; did you mean 'mlp'"),
            ("saving.nets:mlp", "saving.nets:torch.load", "no function or class of 'saving'"),
        ):
            rewrite(folder, lambda c, new=new: c["architecture"].update(constructor=new))
            with pytest.raises(StorageError, match=words):
                sc.load(folder, trust=("saving", "nobody"))
            rewrite(folder, lambda c, old=old: c["architecture"].update(constructor=old))
        sc.load(folder, trust=("saving",))

    def test_arguments_of_built_in_networks_are_kept(self, tmp_path: Path) -> None:
        net = build_seeded("resnet8", 0, num_classes=3, in_channels=1, image_size=(8, 8), width=8)
        assert same_bits(sc.load(sc.save(net, tmp_path / "out")), net)


def rewrite(folder: Path, change) -> None:
    """Change `pruning.json` and seal it again, as somebody with bad intentions would."""
    from secateur.artifact import manifest

    content = json.loads((folder / "pruning.json").read_text())
    content.pop("digest")
    change(content)
    content["digest"] = manifest._digest(content)
    (folder / "pruning.json").write_text(json.dumps(content))


def test_history_that_does_not_lead_to_the_network_is_refused(tmp_path: Path) -> None:
    net = build_seeded("resnet8", 0, num_classes=10, in_channels=3, image_size=16)
    net.linear = nn.Linear(64, 5)
    with pytest.raises(
        PlanError, match=r"not what its history leads to: 'linear.weight' is stored"
    ):
        sc.save(net, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_bias_that_was_added_comes_back(tmp_path: Path) -> None:
    def plain() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4, bias=False))

    net = plain()
    net[0].bias = nn.Parameter(torch.ones(4))
    folder = sc.save(net, tmp_path / "out", architecture="saving.nets:without_bias")
    assert same_bits(sc.load(folder, model=plain()), net)
    assert torch.equal(sc.load(folder, trust=("saving",))[0].bias, torch.ones(4))


def test_tied_weights_stay_tied_and_dtypes_stay(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).to(torch.bfloat16)
        net[1].weight = net[0].weight
        return net

    net = tied()
    loaded = sc.load(sc.save(net, tmp_path / "out"), model=tied().float())
    assert loaded[0].weight is loaded[1].weight
    assert same_bits(loaded, net)


def test_a_language_model_that_is_built_again_has_its_head_tied(tmp_path: Path) -> None:
    """Its constructor draws no weights then, and transformers ties none; and untied it stays untied."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    net = transformers.LlamaForCausalLM(config).eval()
    ids = torch.arange(8).view(2, 4)
    neurons = next(a.name for a in sc.trace(net, {"input_ids": ids}) if a.kind == "neurons")
    small = sc.shrink(net, {"input_ids": ids}, keep={neurons: range(20)})
    loaded = sc.load(sc.save(small, tmp_path / "tied"))
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    counts = [sum(p.numel() for p in m.parameters()) for m in (small.model, loaded)]
    assert counts[0] == counts[1]
    small.model.lm_head.weight = nn.Parameter(torch.randn(40, 16))
    untied = sc.load(sc.save(small.model, tmp_path / "untied", overwrite=True))
    assert same_bits(untied, small.model)
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


def test_torchs_generator_is_left_alone(tmp_path: Path) -> None:
    folder = sc.save(resnet()[0], tmp_path / "out")
    before = torch.random.get_rng_state()
    sc.load(folder)
    assert torch.equal(torch.random.get_rng_state(), before)
