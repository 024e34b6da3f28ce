"""Run in a process of its own, so that an assertion inside llama.cpp fails one test and not the run.

    python llama_runner.py FILE TEXT NEW

prints as JSON: the tokens llama.cpp makes of TEXT, NEW greedy tokens after them, and the logits of
the prompt's last position. Keys and values are kept in float32, as the model computes them.
"""

from __future__ import annotations

import json
import sys


def main(path: str, text: str, new: int) -> None:
    from llama_cpp import GGML_TYPE_F32, Llama

    llm = Llama(
        path, n_ctx=256, n_threads=1, n_batch=256, logits_all=True, verbose=False,
        type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, flash_attn=False,
    )  # fmt: skip
    prompt = llm.tokenize(text.encode(), add_bos=True, special=False)
    llm.eval(prompt)
    logits = llm.scores[len(prompt) - 1].tolist()
    written: list[int] = []
    for _ in range(new):
        written.append(int(llm.scores[llm.n_tokens - 1].argmax()))
        llm.eval(written[-1:])
    print(json.dumps({"prompt": prompt, "written": written, "logits": logits}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
