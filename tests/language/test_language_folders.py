"""The whole way from a folder to a folder, in Python and on the command line."""

import shutil

import pytest

pytest.importorskip("transformers")
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import secateur as sc
from secateur.artifact.manifest import read_manifest
from secateur.cli.main import call
from secateur.core.errors import DataError, PlanError, StorageError
from secateur.engine.blockwise.shards import Shards
from secateur.text.calibration import Sampling
from tests.engine.blockwise import tiny


def test_one_call_prunes_compares_and_describes(source, data, tmp_path):
    done = sc.prune_folder(
        source, "wanda", tmp_path / "out", data=data, sampling=Sampling(8, 16), sparsity=0.5
    )
    record = read_manifest(tmp_path / "out").provenance.record
    assert record["sparsity"] == 0.5
    assert record["calibration"]["samples"] == 8
    assert record["perplexity"]["held_out"]
    assert record["perplexity"]["dense"]["tokens"] == 6 * 12
    assert record["perplexity"]["pruned"]["perplexity"] > 0
    card = (done.folder / "README.md").read_text()
    assert f"{record['perplexity']['pruned']['perplexity']:.4f}" in card
    assert record["calibration"]["digest"] in card
    model = AutoModelForCausalLM.from_pretrained(done.folder)
    assert float((model.model.layers[0].mlp.up_proj.weight == 0).float().mean()) == 0.5


def test_packed_and_padded_and_the_seed_are_in_the_digest(source, data, tmp_path):
    digests = set()
    for i, (packed, seed) in enumerate([(True, 0), (False, 0), (True, 1)]):
        done = sc.prune_folder(
            source, "wanda", tmp_path / str(i), data=data, seed=seed, compare=False,
            sampling=Sampling(8, 16, packed=packed),
        )  # fmt: skip
        digests.add(done.record["calibration"]["digest"])
    assert len(digests) == 3


def test_what_cannot_be_is_refused_before_anything_is_written(source, data, tmp_path):
    with pytest.raises(DataError, match="exceed the model's context of 64"):
        sc.prune_folder(source, "wanda", tmp_path / "out", data=data, sampling=Sampling(8, 65))
    with pytest.raises(DataError, match="hold an empty text"):
        sc.prune_folder(source, "wanda", tmp_path / "out", data=["fine", " "])
    with pytest.raises(DataError, match="looks at activations"):
        sc.prune_folder(source, "wanda", tmp_path / "out")
    with pytest.raises(PlanError, match="activations='disk' would be ignored"):
        sc.prune_folder(source, "llm-pruner", tmp_path / "out", data=data, activations="disk")
    with pytest.raises(PlanError, match="nothing is trained; `training` would be ignored"):
        sc.prune_folder(source, "wanda", tmp_path / "out", data=data, training=sc.Training())
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_of_another_model_is_refused(source, data, tmp_path):
    small = tiny.folder(tmp_path / "small", vocab_size=10)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (small / name).write_bytes((source / name).read_bytes())
    with pytest.raises(DataError, match="the tokenizer does not fit the model"):
        sc.prune_folder(small, "wanda", tmp_path / "out", data=data, sampling=Sampling(8, 16))


@pytest.mark.parametrize("method", ["wanda", "flap", "llm-pruner"])
def test_files_that_are_not_the_configurations_are_refused_before_anything_happens(
    source, data, tmp_path, capsys, method
):
    """Else transformers fills what is lacking with random numbers, and the dense figures are of those."""
    lacking, other = tmp_path / "lacking", tmp_path / "other"
    for folder in (lacking, other):
        shutil.copytree(source, folder)
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)
        for file in folder.glob("*.safetensors"):
            file.unlink()
    whole = {n: s.read(n) for s in [Shards(source)] for n in s.entries}
    name = "model.layers.2.mlp.up_proj.weight"
    save_file(
        {n: t for n, t in whole.items() if n != name},
        lacking / "model.safetensors",
        {"format": "pt"},
    )
    save_file(
        whole | {name: whole[name][:-1].clone()}, other / "model.safetensors", {"format": "pt"}
    )
    out = tmp_path / "out"
    for folder, said in (
        (lacking, f"holds no weights for '{name}'"),
        (other, "do not belong together"),
    ):
        assert run([*LINE[:3], method, *LINE[4:]], folder, data, out) == 2
        shown = capsys.readouterr()
        assert said in shown.err
        assert len(shown.err.splitlines()) == 1
        assert not shown.out
    assert not out.exists()


def test_a_folder_without_a_tokenizer_says_what_to_copy(source, data, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(source, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(StorageError, match=r"holds no tokenizer.*copy the model's tokenizer\.json"):
        sc.prune_folder(bare, "wanda", tmp_path / "out", data=data)


def test_without_calibration_data_magnitude_still_works(source, tmp_path):
    done = sc.prune_folder(
        source, "magnitude-layerwise", tmp_path / "out", walk="blocks", sparsity=0.25
    )
    assert done.record["sparsity"] == 0.25
    assert "perplexity" not in done.record


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here_is_refused_before_anything_is_written(
    source, data, tmp_path, capsys
):
    with pytest.raises(PlanError, match="device 'cuda' is not here"):
        sc.prune_folder(source, "wanda", tmp_path / "out", data=data, device="cuda")
    assert run([*LINE, "--device", "cuda"], source, data, tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "device 'cuda' is not here" in line
    assert list(tmp_path.iterdir()) == []


def test_layers_that_saw_too_few_tokens_are_in_the_health_table(source, data, tmp_path):
    done = sc.prune_folder(
        source, "sparsegpt", tmp_path / "out", data=data, sampling=Sampling(1, 8), compare=False
    )
    card = (done.folder / "README.md").read_text()
    assert "| layer to look at |" in card
    assert "| model.layers.0.self_attn.q_proj.weight | 0.01 | 0 | 8 | 16 |" in card


LINE = ["prune", "SOURCE", "--method", "wanda", "--sparsity", "0.5", "--data", "DATA"]


def run(words, source, data, out):
    places = {"SOURCE": str(source), "DATA": str(data)}
    return call([*(places.get(word, word) for word in words), "--out", str(out)])


def test_the_user_story_in_one_line(source, data, tmp_path, capsys):
    out = tmp_path / "out"
    assert run([*LINE, "--samples", "8", "--length", "16"], source, data, out) == 0
    shown = capsys.readouterr()
    assert "removed 50.00% of" in shown.out
    assert "perplexity on held-out texts:" in shown.out
    assert "block 3/3 model.layers.2, 0 s left" in shown.err
    assert run([*LINE, "--nsamples", "8"], source, data, out) == 2
    assert "is not empty" in capsys.readouterr().err


def test_the_papers_words_are_understood(source, data, tmp_path, capsys):
    words = ["prune", "SOURCE", "--prune_method", "sparsegpt", "--sparsity_ratio", "0.5",
             "--sparsity_type", "2:4", "--nsamples", "8", "--seqlen", "16", "--seed", "1",
             "--data", "DATA", "--no-compare", "--permute"]  # fmt: skip
    assert run(words, source, data, tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "weights get their inputs in another order" in shown
    assert "weights were put in another order, where" in shown
    record = read_manifest(tmp_path / "out").provenance.record
    assert record["recipe"]["scope"] == {"name": "nm"}
    assert record["recipe"]["basis"]["name"] == "spread-inputs"
    assert record["calibration"]["seed"] == 1
    words[words.index("0.5")] = "0.7"
    assert run(words, source, data, tmp_path / "other") == 2
    assert "cannot be reached" in capsys.readouterr().err


def test_a_dry_run_shows_sizes_and_touches_nothing(source, data, tmp_path, capsys):
    assert run([*LINE, "--dry-run", "--activations", "disk"], source, data, tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "final density 50 % (sparsity 50 %)" in shown
    assert "disk:" in shown
    assert "memory beside the program, about" in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prune", "/tmp", "--method", "wanda"], "holds no"),
        (["prune", "no-owner/no-model", "--method", "wanda"], "not to be had from the hub"),
        ([*LINE, "--samples", "9999"], "9999 were asked for"),
        ([*LINE, "--length", "9999"], "exceed the model's context"),
        ([*LINE, "--activations", "tape"], "kept in memory or on disk"),
        ([*LINE, "--option", "pattern=3:4"], "3:4 keeps density 75 % (sparsity 25 %) by itself"),
        (
            [*LINE[:4], "--pattern", "3:5"],
            "leave such layers out (--option 'exclude=*.q_proj.weight')",
        ),
        (
            [*LINE[:4], "--pattern", "2:4", "--option", "layers={'*.q_proj.*': 1.0}"],
            "what allocator 'given' gives each layer would be ignored",
        ),
        (["prune", "/no/where", *LINE[2:], "--nsamples", "8"], "there is no folder '/no/where'"),
        (["prune", "./where", *LINE[2:], "--nsamples", "8"], "there is no folder './where'"),
        ([*LINE, "--permute"], "give a pattern, e.g. 2:4"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(source, data, tmp_path, capsys, words, said):
    assert run(words, source, data, tmp_path / "out") == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1
    assert not list(tmp_path.iterdir())
