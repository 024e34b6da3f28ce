"""Files that hold a model in another form than it has in memory are complete."""

import pytest

pytest.importorskip("transformers")
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from secateur.core.errors import StorageError
from secateur.engine.blockwise.complete import check_files
from secateur.engine.blockwise.shards import Shards
from secateur.engine.blockwise.skeleton import Skeleton
from tests.engine.blockwise import tiny

APART = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "head_dim": 8, "num_layers_per_stack": 1,
}  # fmt: skip


def check(folder):
    check_files(Skeleton(Shards(folder)))


@pytest.mark.parametrize("family", ["llama", "mixtral", "phi3"])
def test_whole_tied_and_joined_ones_are_complete(family, tmp_path):
    """Mixtral's files hold experts one by one, the model all of a layer in one tensor."""
    check(tiny.folder(tmp_path, family, tie_word_embeddings=family == "llama"))


def test_what_is_stored_as_one_fills_several(tmp_path):
    """HRM's files hold gates, queries, keys and values in one tensor, the model one by one."""
    AutoModelForCausalLM.from_config(CONFIG_MAPPING["hrm_text"](**APART)).save_pretrained(tmp_path)
    stored = Skeleton(Shards(tmp_path))
    assert any("gqkv_proj" in key for key in stored.joined)
    check_files(stored)


def test_of_another_width(tmp_path):
    tiny.folder(tmp_path / "wide", "llama", intermediate_size=40)
    config = tiny.folder(tmp_path / "narrow", "llama", intermediate_size=24) / "config.json"
    (tmp_path / "wide" / "config.json").write_bytes(config.read_bytes())
    with pytest.raises(StorageError, match="do not belong together"):
        check(tmp_path / "wide")
