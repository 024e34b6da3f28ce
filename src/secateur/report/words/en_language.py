"""English, for studies of language models."""

from __future__ import annotations

ENGLISH_LANGUAGE: dict[str, str] = {
    "lm.kicker": "Pruning study of a language model",
    "lm.subtitle": "{model} · questions: {data}",
    "lm.lead": (
        "The best run is {id}. It has {parameters} % fewer parameters and keeps {rouge} % of the "
        "original's ROUGE-L and {bleu} % of its BLEU on {n} questions it was not chosen by. It meets "
        "{met} of {goals} goals."
    ),
    "lm.lead.none": "No pruned run is finished yet.",
    "lm.card.dense": "ROUGE-L of the original",
    "lm.card.copy": "ROUGE-L of copying the question",
    "lm.card.winner": "best run",
    "lm.card.runs": "runs finished",
    "lm.card.time": "computing time",
    "lm.warn.unfinished": "Not finished: {names}.",
    "lm.warn.scale": "The study was run at {scale} of its size: fewer questions and training steps.",
    "lm.warn.small": (
        "The model was trained here, in minutes, on these questions: it shows that the study works, "
        "not how well a large model prunes."
    ),
    "lm.warn.test": (
        "Answers to {n} test questions with one seed: differences of a few percent may be chance."
    ),
    "lm.warn.copy": (
        "The original scores no better than copying the question (ROUGE-L {dense} against {copy}); "
        "what pruning changes says little."
    ),
    "lm.warn.time": (
        "Response times were measured on {device} with {threads} thread(s), in turns with the original."
    ),
    "lm.results.title": "Results",
    "lm.goals.title": "Goals",
    "lm.winner.title": "The best run",
    "lm.removed.title": "What was removed",
    "lm.samples.title": "Answers side by side",
    "lm.table.main": "All runs",
    "lm.table.main.caption": (
        "Prune: share of all units (neurons, head groups) taken out. Memory: the weights. ROUGE-L "
        "(F1) and BLEU on {n} test questions, Korean and other scripts kept. Response: seconds for "
        "{tokens} tokens, mean of {samples} answers and its 95 % interval."
    ),
    "lm.table.tasks": "Tasks",
    "lm.table.tasks.caption": (
        "Tasks of the Language Model Evaluation Harness, {samples} questions each; the standard error "
        "is the one it takes."
    ),
    "lm.table.more": "Further measurements",
    "lm.table.more.caption": (
        "Keywords: share of the words that tell an answer from the others. Perplexity of the wanted "
        "answers over {tokens} tokens in windows of {length}; bits per byte do not depend on the "
        "tokenizer. Peak: highest memory of the process (or device) while answering."
    ),
    "lm.table.goals": "Kept and saved, against the original",
    "lm.table.goals.caption": (
        "Goals: ROUGE-L at least {rouge} % and BLEU at least {bleu} % of the original's, response "
        "time at most {time} %, memory at most {memory} %. Met: ✓, missed: ✗. The time is the "
        "ratio of answers given in turns, with its 95 % interval; its goal is met where the whole "
        "interval is within it, and unclear where only a part is."
    ),
    "lm.column.id": "ID",
    "lm.column.prune": "Prune %",
    "lm.column.parameters": "Parameters",
    "lm.column.memory": "Memory MiB",
    "lm.column.rouge": "ROUGE-L",
    "lm.column.bleu": "BLEU",
    "lm.column.response": "Response s",
    "lm.column.note": "Notes",
    "lm.column.rouge1": "ROUGE-1",
    "lm.column.rouge2": "ROUGE-2",
    "lm.column.keyword": "Keywords %",
    "lm.column.exact": "Exact %",
    "lm.column.perplexity": "Perplexity",
    "lm.column.bits": "Bits per byte",
    "lm.column.rate": "Tokens/s",
    "lm.column.first": "First token ms",
    "lm.column.peak": "Peak MiB",
    "lm.column.met": "Met",
    "lm.column.rouge_kept": "ROUGE-L %",
    "lm.column.bleu_kept": "BLEU %",
    "lm.column.time_kept": "Time %",
    "lm.column.memory_kept": "Memory %",
    "lm.column.question": "Question",
    "lm.column.wanted": "Wanted",
    "lm.column.original": "Original",
    "lm.column.pruned": "{id}",
    "lm.column.structure": "Structure",
    "lm.column.digest": "Run",
    "lm.note.original": "original model",
    "lm.note.best": "best of phase {phase}",
    "lm.note.winner": "best of all",
    "lm.figure.pareto": "Quality and memory",
    "lm.figure.pareto.alt": (
        "Each run by the memory of its weights and the mean share of ROUGE-L and BLEU it keeps, both "
        "in percent of the original; a line joins the runs that no other beats in both."
    ),
    "lm.figure.pareto.caption": (
        "Test questions. The line joins the runs that no other beats in both; the dashed level is "
        "the original. Best is up and to the left."
    ),
    "lm.axis.memory": "memory, % of the original",
    "lm.axis.quality": "quality kept, %",
    "lm.phase": "Phase {phase}: {title}",
    "lm.figure.removed": "Units removed from each layer",
    "lm.figure.removed.alt": "One row a layer, one column a run; darker cells lost a larger share.",
    "lm.figure.removed.caption": (
        "Percent of the layer's units that were taken out. Columns are runs with their ids."
    ),
    "lm.unclear": "unclear",
    "lm.table.samples": "Some test questions",
    "lm.table.samples.caption": "As they are: the same questions for every run, greedy decoding.",
    "lm.winner.run": "Run",
    "lm.winner.why": "Reasons",
    "lm.winner.reason": (
        "It meets {met} of {goals} goals on the {n} validation questions, more than or as many as any "
        "other; among those with as many it keeps the most quality: {quality} % of the original's "
        "ROUGE-L and BLEU. The test questions had no part in the choice."
    ),
    "lm.winner.options": "Options",
    "lm.winner.parameters": "Parameters",
    "lm.winner.memory": "Memory",
    "lm.winner.time": "Response time",
    "lm.winner.rouge": "ROUGE-L on test",
    "lm.winner.bleu": "BLEU on test",
    "lm.winner.form": "Form",
    "lm.winner.form.a": "ordinary modules, smaller in place",
    "lm.winner.form.masks": "zeros in weights of the original size",
    "lm.winner.form.other": "level {level}",
    "lm.change": "{before} → {after} ({change} %)",
    "lm.change.interval": "{change} % (95 % interval {low} to {high} %)",
    "lm.about.title": "How it was done",
    "lm.about.model": "Model",
    "lm.about.questions": "Questions",
    "lm.about.questions.value": (
        "{data}: {calibration} to calibrate, {validation} to decide, {test} to report"
    ),
    "lm.about.method": "Method",
    "lm.about.machine": "Machine",
}
