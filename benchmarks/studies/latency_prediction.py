"""How well latency is predicted from a few measurements, on public data of real devices.

`python -m tofa_edge.benchmarks.studies.latency_prediction SETS --data FOLDER --out results.json`,
where FOLDER holds the folders help_fbnet, nb201, accel_nasbench and ncnn_bench. Every measurement
counts: k is all that is known of the device. Results are kept set by set, so a run can be
continued.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.benchmarks.studies.command import Row, parser, store, stored
from tofa_edge.benchmarks.studies.latency_budgets import accel_budgets
from tofa_edge.benchmarks.studies.latency_data import (
    ACCELERATOR_FAMILIES,
    LatencySet,
    accel_nasbench,
    help_fbnet,
    nb201,
    ncnn_boards,
)
from tofa_edge.prediction.latency import LatencyPredictor

FIRST, THEN = 4, 3  # measurements chosen at once, first and later
HELP_REFERENCES = (
    "1080ti_1", "1080ti_32", "1080ti_{}", "silver_4114", "silver_4210r", "samsung_a50", "pixel3",
    "essential_ph_1", "samsung_s7", "titanx_1", "titanx_32", "titanx_{}", "gold_6240",
)  # fmt: skip


def main() -> None:
    required = {"type": Path, "required": True}
    command = parser(__doc__, data=required, out=required, seeds=20)
    command.add_argument("sets", nargs="*", default=list(SETS), help=", ".join(SETS))
    given = command.parse_args()
    if unknown := sorted(set(given.sets) - set(SETS)):
        command.error(f"no set {unknown[0]!r}; there are {', '.join(SETS)}")
    results = stored(given.out)
    for name in given.sets:
        begin = time.process_time()
        rows = SETS[name](given.data, given.seeds)
        print(f"{name}: {time.process_time() - begin:.0f} s of CPU", flush=True)
        for key, row in rows.items():
            results[key] = {**row, "seeds": given.seeds, "date": time.strftime("%Y-%m-%d")}
            print(key, json.dumps(results[key]), flush=True)
        store(given.out, results)


def help_fbnet_rows(folder: Path, seeds: int) -> dict[str, Row]:
    """The protocol of HELP on FBNet (Lee et al., NeurIPS 2021, and the authors' scripts).

    Known are the nine training and four validation devices; unseen are fpga, raspi4 and eyeriss.
    Measured are networks among the first 4,000, asked are the next 1,000 without the fastest and
    the slowest tenth. All three unseen devices are sums of tables, so the same is done with unseen
    devices that were measured end to end.
    """
    data = help_fbnet(folder)
    known = [name.format(64) for name in HELP_REFERENCES]
    real = ("titan_rtx_1", "titan_rtx_32", "titan_rtx_64", "gold_6226", "pixel2")
    asked = (np.arange(4000), np.arange(4000, 5000))
    rows = {}
    for title, targets, counts in (
        ("help_fbnet, HELP's protocol", ("fpga", "raspi4", "eyeriss"), (3, 10)),
        ("help_fbnet, HELP's protocol, end-to-end devices", real, (10,)),
    ):
        claimed = not any(data.summed[data.devices.index(target)] for target in targets)
        for count in counts:
            pairs = [(target, known) for target in targets]
            row = _few_shot(data, pairs, count, seeds, *asked, trimmed=True)
            rows[f"{title}, k={count}"] = {"measured_end_to_end": claimed, **row}
    return rows


def nb201_rows(folder: Path, seeds: int) -> dict[str, Row]:
    """The protocol of HELP on NAS-Bench-201: measured among the first 900, asked the next 1,000."""
    data, known = nb201(folder), [name.format(256) for name in HELP_REFERENCES]
    targets = ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss")
    pairs = [(target, known) for target in targets]
    asked = (np.arange(900), np.arange(900, 1900))
    return {
        f"nb201, HELP's protocol, k={count}": _few_shot(
            data, pairs, count, seeds, *asked, trimmed=True
        )
        for count in (3, 10)
    }


def accel_nasbench_rows(folder: Path, seeds: int) -> dict[str, Row]:
    """Six accelerators: unseen alone, with the other of its family, and without any reference."""
    data = accel_nasbench(folder)
    everything = np.arange(len(data.latency_ms))
    known: dict[str, Callable[[str, str], bool]] = {
        "leave one device out": lambda one, other: one != other,
        "leave the family out": lambda one, other: (
            not any({one, other} <= {*family} for family in ACCELERATOR_FAMILIES)
        ),
        "no reference device": lambda one, other: False,
    }
    rows = {}
    for title, is_known in known.items():
        pairs = [
            (one, [name for name in data.devices if is_known(one, name)]) for one in data.devices
        ]
        row = _few_shot(data, pairs, 10, seeds, everything, everything)
        rows[f"accel_nasbench, {title}, k=10"] = row
    return rows


def ncnn_rows(folder: Path, seeds: int) -> dict[str, Row]:
    """Boards, 22 classification networks, ten measured; no costs, only what other boards took.

    Two of the ten are drawn, the others designed. The rival gets the same ten: it takes the other
    board that fits them best after scaling by one number.
    """
    data = ncnn_boards(folder)
    networks, figures = len(data.latency_ms), []
    for target in data.devices:
        known = data.known(name for name in data.devices if name != target)
        truth = data.column(target)
        fresh = LatencyPredictor(data.features, data.columns, known)
        of_target = []
        for seed in range(seeds):
            drawn = np.random.default_rng(seed).permutation(networks)[:2]
            predictor = fresh.with_seed(seed)
            predictor.observe(drawn, truth[drawn])
            seen = _measure(predictor, truth, drawn, 10)
            left = np.setdiff1d(np.arange(networks), seen)
            predicted = predictor.predict().median_ms[left]
            rival = _scaled_nearest(known, np.log(truth), seen)[left]
            rank, error, _ = _figures(predicted, truth[left])
            of_target.append((rank, error, _figures(rival, truth[left])[1]))
        figures.append(np.mean(of_target, axis=0))
    ranks, errors, rival_errors = np.array(figures).T
    gain = 1 - np.mean(errors) / np.mean(rival_errors)
    row = {
        "k": 10,
        "boards": len(data.devices),
        "spearman": _mean_and_worst(ranks, data.devices, min),
        "error_percent": _mean_and_worst(errors, data.devices, max),
        "scaled_nearest_board_error_percent": round(float(np.mean(rival_errors)), 2),
        "error_reduced_by_percent": round(100 * float(gain), 1),
    }
    return {"ncnn boards, classification, k=10": row}


def _scaled_nearest(known: DoubleArray, log_ms: DoubleArray, seen: IndexArray) -> DoubleArray:
    """Returns latencies (N,) of the column that fits best, scaled by the median ratio."""
    ratios = log_ms[seen, np.newaxis] - known[seen]
    shifts = np.median(ratios, axis=0)
    nearest = int(np.argmin(np.abs(ratios - shifts).mean(axis=0)))
    scaled: DoubleArray = np.exp(known[:, nearest] + shifts[nearest])
    return scaled


def _few_shot(
    data: LatencySet,
    pairs: Sequence[tuple[str, Sequence[str]]],
    count: int,
    seeds: int,
    train: IndexArray,
    query: IndexArray,
    trimmed: bool = False,
) -> Row:
    """Returns the figures of (unseen device, known devices) pairs, each the mean of all seeds."""
    figures, scores = [], []
    for target, known in pairs:
        truth = data.column(target)
        priors = data.known(known)
        complete = np.isfinite(truth) & np.isfinite(priors).all(axis=1)
        pool, asked = train[complete[train]], query[complete[query]]
        if trimmed:
            asked = _without_extremes(asked, truth)
        fresh = LatencyPredictor(data.features[pool], data.columns, priors[pool])
        of_target = []
        for seed in range(seeds):
            predictor = fresh.with_seed(seed)
            chosen = pool[_measure(predictor, truth[pool], np.zeros(0, np.int64), count)]
            left = np.setdiff1d(asked, chosen)
            prediction = predictor.predict(data.features[left], priors[left])
            score = np.log(prediction.median_ms / truth[left]) / prediction.relative_std
            of_target.append((*_figures(prediction.median_ms, truth[left]), (score**2).mean()))
        *means, square = np.mean(of_target, axis=0)
        figures.append(means)
        scores.append(square**0.5)
    names = [target for target, _ in pairs]
    ranks, errors, within = np.array(figures).T
    return {
        "k": count,
        "spearman": _mean_and_worst(ranks, names, min),
        "error_percent": _mean_and_worst(errors, names, max),
        "within_10_percent": _mean_and_worst(within, names, min),
        "z_score_rms": round(float(np.mean(scores)), 2),
    }


def _without_extremes(networks: IndexArray, truth: DoubleArray) -> IndexArray:
    """Returns networks without the fastest and the slowest tenth."""
    order = networks[np.argsort(truth[networks], kind="stable")]
    return order[int(len(order) * 0.1) : int(len(order) * 0.9)]


def _measure(
    predictor: LatencyPredictor, truth: DoubleArray, seen: IndexArray, count: int
) -> IndexArray:
    """Designs and observes until `count` candidates are measured; returns all of them."""
    chosen = seen
    while len(chosen) < count:
        number = min(count - len(chosen), THEN if len(chosen) else FIRST)
        new = predictor.design(number, chosen)
        predictor.observe(new, truth[new])
        chosen = np.concatenate([chosen, new])
    return chosen


def _figures(predicted: DoubleArray, truth: DoubleArray) -> tuple[float, float, float]:
    """Returns Spearman's ρ, the mean relative error in %, and how many % are within ±10 %."""
    error = np.abs(predicted / truth - 1)
    return spearman(predicted, truth), 100 * float(error.mean()), 100 * float((error <= 0.1).mean())


def spearman(left: DoubleArray, right: DoubleArray) -> float:
    """Returns Spearman's rank correlation of values (N,) of the same things, ties by their mean."""
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: DoubleArray) -> DoubleArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: DoubleArray = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _mean_and_worst(values: DoubleArray, names: Sequence[str], worst: Callable[..., float]) -> Row:
    at = values.tolist().index(worst(values))
    return {
        "mean": round(float(np.mean(values)), 4),
        "worst": round(float(values[at]), 4),
        "worst_device": names[at],
    }


SETS = {
    "help_fbnet": help_fbnet_rows,
    "nb201": nb201_rows,
    "accel_nasbench": accel_nasbench_rows,
    "ncnn_boards": ncnn_rows,
    "budgets": accel_budgets,
}

if __name__ == "__main__":
    main()
