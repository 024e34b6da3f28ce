"""Run in a process of its own, in which Secateur cannot be imported.

    python stock_loader.py FOLDER…

Each folder is loaded by the class its config.json names and compared, bit for bit, with what the
saving process computed (`expected.pt` beside the folder).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.modules["secateur"] = None  # type: ignore[assignment]


def main(folders: list[str]) -> None:
    import torch
    import transformers

    for folder in map(Path, folders):
        name = json.loads((folder / "config.json").read_text())["architectures"][0]
        kind = getattr(transformers, name)
        model, info = kind.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"], info
        assert not info["unexpected_keys"], info
        assert not info["mismatched_keys"], info
        expected = torch.load(folder.with_suffix(".pt"), weights_only=True)
        with torch.no_grad():
            found = model.eval()(**expected["inputs"])[0]
        print(folder.name, torch.equal(found, expected["output"]))
        if (folder / "tokenizer.json").exists():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            print(folder.name, tokenizer.decode(tokenizer("Hello 25 world").input_ids))
    try:
        import secateur  # noqa: F401
    except ImportError:
        print("without secateur")


if __name__ == "__main__":
    main(sys.argv[1:])
