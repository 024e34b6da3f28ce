"""English."""

from __future__ import annotations

ENGLISH: dict[str, str] = {
    # head
    "head.kicker": "Pruning report",
    "head.subtitle": "{network} on {data}",
    "head.lead": (
        "The dense network reaches {dense} % top-1. The sparsest network within one percentage "
        "point of it is {label} at {sparsity} % sparsity, with {accuracy} %: {factor} times fewer "
        "weights."
    ),
    "head.lead.at_run_time": (
        "The dense network reaches {dense} % top-1. Within one percentage point of it is {label} with "
        "{accuracy} %, whose layers leave out {sparsity} % of the MACs on average over inputs, and no weight."
    ),
    "head.lead.none": (
        "The dense network reaches {dense} % top-1. No pruned network comes within one percentage "
        "point of it."
    ),
    "head.lead.only_dense": (
        "The dense network reaches {dense} % top-1. Its runs prune nothing; what was found stands in "
        "the analyses."
    ),
    "head.lead.no_dense": "There is no dense network among these results to compare with.",
    "card.dense": "dense top-1",
    "card.best": "largest sparsity within 1 point",
    "card.runs": "runs finished",
    "card.seeds": "seeds",
    "card.time": "computing time",
    "contents": "Contents",
    # warnings
    "warn.title": "Read this first",
    "warn.unfinished": "{missing} of {all} runs are not finished: {names}.",
    "warn.more": "and {n} more",
    "warn.run": "{label} (seed {seed})",
    "warn.one_seed": (
        "There is one seed only ({seed}): no interval can be given, and differences between "
        "methods may be chance."
    ),
    "warn.one_seed_some": "One seed only, hence no interval: {labels}.",
    "warn.two_seeds": (
        "With two seeds the 95 % interval is ±12.7 standard errors: wide, and rightly so."
    ),
    "warn.test_size": (
        "Accuracies are measured on {n} {metric} images; at {accuracy} % the sample alone makes "
        "them uncertain by ±{error} points (95 %), the same for all methods."
    ),
    "warn.test_sizes": "Runs were evaluated on different numbers of {metric} images: {sizes}.",
    "warn.unevaluated": "No {metric} evaluation, hence left out: {names}.",
    "warn.validation": (
        "Not every run has a test evaluation: all accuracies here are validation accuracies."
    ),
    "warn.scale": (
        "The study was shrunk to scale {scale}: fewer epochs and images than its definition says. "
        "The numbers do not speak for the full study."
    ),
    "warn.fraction": "Only {percent} % of the training images were used.",
    "warn.collapsed": "Layers collapsed: {label} at {sparsity} % sparsity ({n}: {names}).",
    "warn.diverged": "The loss is not finite: {label} at {sparsity} % sparsity (seed {seed}).",
    "warn.versions": "Runs were made with different versions of {package}: {versions}.",
    "warn.devices": "Runs were made on different devices: {devices}; times do not compare.",
    "warn.dirty": "The working tree had uncommitted changes when {n} of {all} runs were made.",
    "metric.test": "test",
    "metric.val": "validation",
    # what was run
    "about.title": "What was run",
    "about.network": "Network",
    "about.parameters": "{n} parameters",
    "about.weights": "trained weights from {path}",
    "about.data": "Data",
    "about.data.split": "{validation} % of the training images held out for validation",
    "about.data.augment": "random crops and flips",
    "about.data.crop": "random crops",
    "about.data.plain": "no augmentation",
    "about.evaluated": "Evaluated on",
    "about.images": "{n} {metric} images",
    "about.training": "Training",
    "about.training.none": "none: a trained network was pruned",
    "about.training.never": "none: initial weights",
    "about.seeds": "Seeds",
    "about.machine": "Machine",
    "about.threads": "threads: {n}",
    "about.versions": "Versions",
    "about.git": "Commit",
    "about.dirty": "with uncommitted changes",
    "about.time": "Computing time",
    "about.started": "Begun",
    "table.methods": "Methods and their settings",
    "table.methods.caption": (
        "What each method does on every axis, as in the configuration of its runs; | separates the "
        "values of a grid."
    ),
    # columns
    "column.method": "Method",
    "column.settings": "Settings",
    "column.runs": "Runs",
    "column.model": "Model",
    "column.sparsity": "Sparsity (%)",
    "column.density": "Density (%)",
    "column.top1": "Top-1 (%)",
    "column.top1_ci": "Top-1 (%) ±\N{NO-BREAK SPACE}95 %\N{NO-BREAK SPACE}CI",
    "column.change": "vs. dense (points)",
    "column.seeds": "Seeds",
    "column.seed": "Seed {seed}",
    "column.nonzero": "Non-zero params (M)",
    "column.macs": "MACs (M)",
    "column.dense_mb": "Dense float32 (MB)",
    "column.stored_mb": "Stored (MB)",
    "column.params": "Params (M)",
    "column.size": "Size (MB)",
    "column.time": "Time",
    "column.round": "Round",
    "column.before": "Before recovery (%)",
    "column.val": "Validation (%)",
    "column.network": "Network",
    "column.collapse": "Collapses at (%)",
    "column.layers": "Collapsed layers",
    "column.layer": "Layer",
    "column.ticket": "Ticket",
    "column.from": "Found on",
    "column.to": "Trained on",
    "column.barrier": "Loss barrier",
    "column.ends": "Loss at the ends",
    "column.curve": "Curve",
    "column.run": "Run",
    "column.started": "Begun",
    "column.device": "Device",
    "column.commit": "Commit",
    # results
    "results.title": "Sparsity and accuracy",
    "method.dense": "Dense",
    "method.at_run_time": "{label} (at run time)",
    "figure.curves": "Accuracy against sparsity",
    "figure.curves.caption": (
        "Mean {metric} accuracy over seeds; the horizontal axis is logarithmic in density. {bars} "
        "Small dots are single seeds. The grey line is the dense network."
    ),
    "figure.curves.bars": (
        "Bars: 95 % confidence interval of the mean (Student t), cut at the frame; methods are drawn "
        "a little apart."
    ),
    "figure.curves.no_bars": "One seed each, hence no error bars.",
    "figure.curves.zoom": "The lower panel enlarges the top of the upper one.",
    "figure.curves.alt": "Line chart of accuracy against sparsity. {series}",
    "figure.curves.alt.series": "{label}: from {first} % at {start} % sparsity to {last} % at {end} %.",
    "axis.accuracy": "{metric} accuracy (%)",
    "axis.zoom": "{metric} accuracy (%), enlarged",
    "axis.sparsity": "sparsity",
    "axis.density": "density",
    "table.main": "Every method at the end of its runs",
    "table.main.caption": (
        "Iterative methods with their last round, others once per sparsity. ± is the half-width of "
        "the 95 % confidence interval of the mean over seeds (Student t); no ± means one seed. The "
        "difference to the dense network is paired by seed. Sparsity and density count prunable "
        "weights; MACs count multiplications with weights that are not zero, and on average over inputs "
        "where layers decide for each. Stored: as written to disk, compressed. ◆: no other "
        "network here is both sparser and better."
    ),
    "table.at_run_time": (
        "At run time: layers decide for every input and no weight is out; sparsity and density here are "
        "shares of the dense network's MACs, on average over inputs."
    ),
    "table.efficiency": "Efficiency",
    "table.efficiency.caption": (
        "For each method the sparsest network that loses at most one percentage point against the "
        "dense one, and the sparsest of all. Parameters that are not zero; size: these as float32, "
        "4 bytes each, without their positions."
    ),
    "rounds.title": "Round by round",
    "table.rounds": "{label}",
    "table.rounds.caption": (
        "Top-1 {metric} accuracy after each round, as a mean over seeds and for each seed."
    ),
    # layers
    "layers.title": "Layer by layer",
    "figure.layers": "Density of each layer",
    "figure.layers.caption": (
        "Kept share of every prunable layer, in percent, mean over seeds; per method the state "
        "nearest to {sparsity} % sparsity, which all reached. Colours are logarithmic; × marks a "
        "layer with no weights."
    ),
    "figure.layers.alt": "Heat map of densities, layers as rows, methods as columns.",
    # collapse
    "collapse.title": "Layer collapse",
    "figure.collapse": "Densities per layer at {sparsity} % sparsity: {network}",
    "figure.collapse.caption": (
        "Untrained networks pruned by each method; layers from input to output. × on the bottom "
        "line marks a layer that collapsed: it keeps no weight or lies on no path from input to "
        "output."
    ),
    "figure.collapse.alt": "Line chart of density by layer. {series}",
    "figure.collapse.alt.series": "{label}: {n} collapsed layers, least density {least} %.",
    "axis.layer": "layer, from input to output",
    "axis.layer_density": "density of the layer (%)",
    "table.collapse": "Collapse point of each method",
    "table.collapse.caption": (
        "The lowest sparsity tried at which any layer collapsed; “none” up to the highest one tried."
    ),
    "collapse.none": "none up to {sparsity}",
    # overlap
    "overlap.title": "Mask overlap",
    "figure.overlap": "What masks have in common",
    "figure.overlap.caption": (
        "Jaccard overlap (kept by both over kept by either, %) of every pair of runs{sparsity}; "
        "below the diagonal the overlap itself, above it the overlap that independent masks of the "
        "same layer densities would have."
    ),
    "figure.overlap.sparsity": " near {sparsity} % sparsity",
    "figure.overlap.alt": "Matrix of mask overlaps between {n} runs.",
    # sensitivity
    "sensitivity.title": "Sensitivity",
    "figure.sensitivity": "Accuracy when one layer alone is pruned",
    "figure.sensitivity.caption": (
        "Each row prunes one layer by magnitude to the sparsity of the column, without retraining, "
        "all others dense; accuracy in percent.{dense}"
    ),
    "figure.sensitivity.dense": " Dense: {accuracy} %.",
    "figure.sensitivity.alt": (
        "Heat map of accuracy by layer and sparsity. Most sensitive: {layer}, {accuracy} %."
    ),
    # connectivity
    "connectivity.title": "Linear mode connectivity",
    "figure.connectivity": "Loss and accuracy on the line between two runs",
    "figure.connectivity.caption": (
        "Two runs share their first steps up to k and then see other data orders; the network is "
        "evaluated on the straight line between their weights. A bump in the loss is a barrier: the "
        "runs ended in different valleys."
    ),
    "figure.connectivity.alt": "Line charts of loss and accuracy along the line. {series}",
    "figure.connectivity.alt.series": "{label}: barrier {barrier}.",
    "axis.alpha": "position α on the line",
    "axis.loss": "loss",
    "axis.accuracy_plain": "accuracy (%)",
    "table.connectivity": "Barriers",
    "table.connectivity.caption": (
        "Largest loss on the line above the straight line between the losses at its ends."
    ),
    # transfer
    "transfer.title": "Ticket transfer",
    "table.transfer": "Tickets trained on another data set",
    "table.transfer.caption": (
        "Masks found on one data set, trained from new initial weights on another{sparsity}; "
        "“random” shuffles the ticket's mask within each layer."
    ),
    "table.transfer.sparsity": ", at {sparsity} % sparsity",
    "ticket.ticket": "ticket",
    "ticket.random": "random mask, same layer densities",
    "ticket.dense": "dense",
    # missing
    "missing.title": "Not in this report",
    "missing.rounds": "Round-by-round tables: no method here has more than one round.",
    "missing.curves": "Accuracy against sparsity: no pruned network was evaluated.",
    "missing.layers": "Densities per layer: no pruned network tells them.",
    "missing.analysis": "{title}: the analysis “{kind}” has not been run.",
    # appendix
    "appendix.title": "Runs and configurations",
    "table.runs": "Runs",
    "table.runs.caption": (
        "Every number above is computed from these runs; a run is named by the digest of its "
        "configuration and its seed, as its folder is."
    ),
    "appendix.config": "Configuration {digest}: {label}",
    "figure.data": "The numbers of this figure",
    "foot": "Made by Secateur {version} from results alone; no number was typed by hand.",
    # units
    "unit.seconds": "{s} s",
    "unit.minutes": "{m} min {s} s",
    "unit.hours": "{h} h {m} min",
}
