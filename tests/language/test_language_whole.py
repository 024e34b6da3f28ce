"""Methods that look at the whole model, from a folder to a folder: one command for each."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("transformers")
from transformers import AutoModelForCausalLM

import secateur as sc
from secateur.artifact.manifest import read_manifest
from secateur.cli.main import call
from secateur.core.errors import StorageError
from secateur.engine.blockwise.shards import Shards
from secateur.language import memory, whole
from secateur.text.calibration import Sampling
from tests.engine.blockwise import tiny
from tests.language.conftest import add_tokenizer

METHODS = {
    "flap": {"density": 0.5, "across": False},
    "llm-pruner": {"density": 0.75, "first": 1, "last": 1},
    "shortgpt": {"density": 2 / 3},
    "shortened-llama": {"density": 2 / 3},
    "slicegpt": {"density": 0.75},
    "smart-farm": {"density": 0.75, "equal": True},
    "magnitude": {"density": 0.5},
}
STOCK = {"flap", "shortgpt", "shortened-llama", "smart-farm", "magnitude"}
WHOLE = {"llm-pruner", "shortened-llama", "magnitude"}
"""Methods that have the whole model in memory; they are proved in float64."""
THREE_LAYERS = {"llm-pruner", "shortgpt", "shortened-llama"}
"""Methods that spare the first and the last layer, or take one of three."""
IDS = torch.arange(4, 14).view(1, -1)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_from_a_folder_to_a_folder(source, short, data, tmp_path, method):
    source = source if method in THREE_LAYERS else short
    out = tmp_path / "new" / "out"
    done = sc.prune_folder(
        source, method, out, data=data, sampling=Sampling(8, 16), **METHODS[method]
    )
    record = read_manifest(out).provenance.record
    assert record["source"] == str(source)
    assert record["perplexity"]["pruned"]["perplexity"] > 0
    assert record["parameters"][0] == sum(p.numel() for p in load_stock(source).parameters())
    assert record["parameters"] == json.loads(json.dumps(done.record["parameters"]))
    if method != "magnitude":
        assert record["proof"]["error"] < (1e-9 if method in WHOLE else 1e-6)
        assert record["parameters"][1] < record["parameters"][0] or method == "slicegpt"
    assert (record["loadable"] == "stock") == (method in STOCK)
    again = sc.load(out)
    if method in STOCK:
        stock = load_stock(out)
        assert torch.equal(stock(IDS).logits, again(IDS).logits)
        assert stock.config.use_cache
        assert stock.generate(IDS, max_new_tokens=3, do_sample=False).shape == (1, 13)
    card = (out / "README.md").read_text()
    assert f"{record['perplexity']['pruned']['perplexity']:.6g}" in card
    assert str(record["calibration"]["digest"]) in card if "calibration" in record else True


def test_a_method_at_run_time_from_a_folder_to_a_folder(short, data, tmp_path):
    options = {"density": 0.5, "points": 3}
    done = sc.prune_folder(
        short, "dynatran", tmp_path / "out", data=data, sampling=Sampling(8, 16), **options
    )
    assert done.record["loadable"] == "secateur"  # from_pretrained knows no wrappers
    assert done.record["calibration"]
    again = sc.load(tmp_path / "out")
    assert sc.measure(again, {"input_ids": IDS}).run_time.inputs == 1
    with pytest.raises(sc.SecateurError, match="calibration data"):
        sc.prune_folder(short, "dynatran", tmp_path / "none")


def load_stock(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_experts_go_from_a_folder(mixture, data, tmp_path):
    sc.prune_folder(mixture, "reap", tmp_path / "out", data=data, sampling=Sampling(8, 16))
    assert load_stock(tmp_path / "out").config.num_local_experts == 2


def test_squared_gradients_are_taken_of_single_samples(source, data, tmp_path, monkeypatch):
    seen = []

    class Enough(Exception):
        pass

    def prune(*args, **given):
        seen.append([len(batch["input_ids"]) for batch in given["calibration"]])
        raise Enough

    monkeypatch.setattr(whole, "prune", prune)
    for method in ("llm-pruner", "shortened-llama"):
        with pytest.raises(Enough):
            sc.prune_folder(
                source, method, tmp_path / "out", data=data, sampling=Sampling(8, 16), compare=False,
                **METHODS[method],
            )  # fmt: skip
    assert seen == [[1] * 8, [8]]


def test_padding_is_neither_predicted_nor_counted():
    ids = torch.tensor([[5, 6, 0], [7, 8, 9]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    batch = whole.with_labels([{"input_ids": ids, "attention_mask": mask}])
    assert batch[0]["labels"].tolist() == [[5, 6, -100], [7, 8, 9]]
    other = whole.with_labels([{"input_ids": ids[:, :2]}])
    both = whole.stacked(batch + other)
    assert both["labels"].tolist()[2:] == [[5, 6, -100], [7, 8, -100]]
    assert both["attention_mask"].sum() == 9


def test_a_recovery_trains_on_the_calibration_texts(short, data, tmp_path):
    words = [
        "prune", str(short), "--method", "flap", "--density", "0.75", "--data", str(data), "--samples",
        "8", "--length", "16", "--recover", "lora=3ep", "--training", "lr=0.01", "--training", "distil={}",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert call(words) == 0
    record = read_manifest(tmp_path / "out").provenance.record
    (recovery,) = record["pruning"]["recovery"]
    assert recovery["parameters"] > 0
    assert recovery["after"]["loss"] != recovery["before"]["loss"]
    assert "| parameters trained |  |" in (tmp_path / "out" / "README.md").read_text()


def test_the_command_says_what_went_and_what_loads_it(source, data, tmp_path, capsys):
    words = ["prune", str(source), "--method", "shortgpt", "--density", "0.67", "--samples", "8"]
    words += ["--length", "16", "--data", str(data), "--out", str(tmp_path / "out")]
    assert call([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "3 blocks, one in memory at a time, twice: to score them, then to cut them" in shown
    assert "memory beside the program, about" in shown
    assert not list(tmp_path.iterdir())
    assert call(words) == 0
    shown = capsys.readouterr().out
    assert "removed 33.33% of the units" in shown
    assert "proved: masked and smaller network differ by" in shown
    assert "loads with from_pretrained" in shown
    assert "perplexity on held-out texts" in shown


def test_a_dry_run_expects_the_size_that_comes_out(source, data, tmp_path):
    """Layers of equal size: exactly; the file's header is all that differs."""
    plan = sc.plan_folder(source, "shortgpt", density=2 / 3)
    sc.prune_folder(source, "shortgpt", tmp_path / "out", density=2 / 3, data=data,
                    sampling=Sampling(8, 16), compare=False)  # fmt: skip
    size = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors"))
    assert plan.disk == pytest.approx(size, rel=0.2)
    assert plan.disk < sum(path.stat().st_size for path in source.glob("*.safetensors"))


def test_too_little_memory_is_said_before_anything_is_read(source, data, tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       7 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(whole, "opened", None)
    with pytest.raises(StorageError, match=r"takes about .* 7.17 kB are available"):
        sc.prune_folder(source, "llm-pruner", tmp_path / "out", data=data)
    with pytest.raises(StorageError, match="available: it rests on gradient"):
        sc.plan_folder(source, "llm-pruner")


def test_what_is_expected_follows_from_what_the_method_does(source):
    """Float32: 5 copies, 4 more for a proof in float64, 2 more for another basis."""
    weights = sum(p.numel() * 4 for p in load_stock(source).parameters())
    for method, copies in (("shortgpt", 5), ("flap", 9), ("llm-pruner", 9), ("slicegpt", 11)):
        peak = memory.expected_peak(Shards(source), sc.recipe(method))
        assert peak == copies * weights, method


def test_memory_of_the_group_counts_where_it_is_less(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert memory.available() == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 3000


def test_a_kind_with_nothing_to_choose_from_is_passed_over_and_told(data, tmp_path, capsys):
    """One key-value head, as in Gemma 3 1B: FLAP takes neurons alone."""
    one = {"num_key_value_heads": 1, "num_hidden_layers": 1, "vocab_size": 64}
    source = tiny.folder(tmp_path / "one", **one)
    add_tokenizer(source)
    words = ["prune", str(source), "--method", "flap", "--density", "0.5", "--data", str(data)]
    words += ["--samples", "4", "--length", "16", "--no-compare", "--out", str(tmp_path / "out")]
    assert call(words) == 0
    shown = capsys.readouterr().out
    assert shown.count("no heads to choose from in this network") == 2  # in the plan and at the end
    record = read_manifest(tmp_path / "out").provenance.record
    assert record["pruning"]["absent"] == ["heads"]
    assert list(record["units"].values()) == [[16, 32]]
    assert (
        "none in this network to choose from: heads" in (tmp_path / "out" / "README.md").read_text()
    )
    for kinds, match in (
        ("[neuron, heads]", "did you mean 'neurons'"),
        ("[heads]", "no heads to choose from, but neurons"),
    ):
        assert call([*words[:-1], str(tmp_path / "no"), "--option", f"kinds={kinds}"]) == 2
        assert match in capsys.readouterr().err


SEARCH = "search={name: evolution, generations: 1, offspring: 2, stages: [[2, 1]]}"


def test_densities_are_searched_for_on_the_command_line(short, data, tmp_path, capsys):
    """Wanda, which goes block by block otherwise, and whole layers; what was searched is told."""
    common = ["prune", str(short), "--data", str(data), "--nsamples", "4", "--seqlen", "16"]
    common += ["--no-compare", "--out"]
    for name, more in {
        "wanda": ["--sparsity", "0.5", "--option", SEARCH],
        "evopress": ["--density", "0.5", "--option", "units=layers", "--option", "generations=1"],
    }.items():
        assert call([*common, str(tmp_path / name), "--method", name, *more]) == 0
        told = capsys.readouterr().out
        assert "the whole model is in memory: it tries candidates on the whole network" in told
        assert "candidates on 4 samples, KL from the dense network" in told
        record = read_manifest(tmp_path / name).provenance.record
        search = (record.get("pruning") or record)["search"]
        assert 0 < search["end"] <= search["start"]
        assert load_stock(tmp_path / name).config.num_hidden_layers == (2 if name == "wanda" else 1)


def test_a_search_without_data_is_refused_in_a_line(short, tmp_path, capsys):
    asked = ["prune", str(short), "--method", "magnitude-layerwise", "--out", str(tmp_path / "out")]
    assert call([*asked, "--sparsity", "0.5", "--option", SEARCH]) == 2
    assert "give calibration data" in capsys.readouterr().err


def test_levels_of_a_solver_count_as_memory(short):
    shards = Shards(short)
    plain, kept = (
        memory.expected_peak(shards, sc.recipe("evopress", reconstruct=by)) for by in (False, True)
    )
    assert kept > 3 * plain


@pytest.mark.parametrize("method", ["wanda", "llm-pruner"])
def test_a_disk_too_small_is_found_before_anything_is_pruned(
    source, data, tmp_path, monkeypatch, method
):
    events = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(StorageError, match="GB free, the result needs"):
        sc.prune_folder(
            source, method, tmp_path / "out", data=data, sampling=Sampling(4, 8), compare=False,
            progress=events.append, **METHODS.get(method, {}),
        )  # fmt: skip
    assert not events
    assert not (tmp_path / "out").exists()
