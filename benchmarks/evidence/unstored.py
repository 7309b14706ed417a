"""Figures of README and docs that no stored result stands behind, and why that is so.

A figure that stands neither here nor in a stored result makes a test fail. Each entry is a piece of
a page, word for word; what no page says any more has to go.
"""

from __future__ import annotations

UNSTORED: dict[str, tuple[str, ...]] = {
    "a version, of software or of a licence": (
        "Python 3.10 to 3.13",
        "3.13 and make",
        "Python ≤ 3.11",
        "Python 3.8",
        "Python 3.10",
        "Python 3.12",
        "Python 3.11, trixie 3.13",
        "Python 3.11 at most",
        "bookworm (3.11) and trixie (3.13)",
        "needs 3.10",
        "`tflite-runtime` 2.14",
        "tflite-runtime 2.14",
        "RTX 1.7",
        "stubs of 10.13",
        "CC BY-NC-SA 4.0",
        "(Apache-2.0)",
        "Ubuntu 22.04",
        "Ubuntu 24.04",
        "from 7.2 on",
        "JetPack 6.1 and 6.2",
        "Measured with versions 0.3 and 0.4",
        "Measured with version 0.4",
        "Measured with version 0.3",
    ),
    "an example of a form, or the meaning of a word": (
        "half of the predictions took at most 1.16 ms, 95 of 100 at most 2.08 ms",
        "with its 95 % interval",
        "with 95 % intervals from order statistics",
        "such as 5%",
    ),
    "a setting or a bound, not a measurement": (
        "| 80 % of its p50 |",
        "| 50 % |",
        "| 33 % |",
        "accuracy with 95 % intervals",
        "with 95 % intervals:",
        "within ±10 %",
        "every measurement off by 3 %",
        "64 MB of memory",
        "a control group of 64 MB",
        "falls from 1 to 0.3",
        "In 64 MB",
        "A Zero 2 W has 512 MB",
        "is hard to beat below 15 MMACs",
        "Below 7 MMACs it finds",
    ),
    "follows from the space: counted by its own code": (
        "2.7 · 10⁸ for EfficientNet-Lite0",
        "its classifier reads take 90 kB",
        "make the file 2.2 MB larger",
        "adds 5 kB for each class",
        "| | largest, 31.4 MMACs | middle, 14.5 | picked ≤ 15 | picked ≤ 7 | smallest, 4.2 |",
    ),
    "seen once, by hand or in a test, not stored": (
        "scores within 1.2e-6 on 92 images tried",
        "1,000 labels leave uncertain by 1.4",
        "5 points of accuracy are noise on 64",
        "adds 1.7 s once, 4 ms afterwards",
        "the other engines need some 20 MB more",
    ),
    "measured before a change that made it better": ("5 of 20, worst 1.31",),
    "the time of a run whose result holds accuracies alone": ("1,500 steps, 23 min",),
    "a run whose result was replaced by that of other settings": ("75.7, 69.1, 61.8 %",),
    "printed by `make test-pi` and `make test-jetson`, not stored": (
        "8 of 8 photos classified as on x86, logits within 8.2e-7 of the largest",
        "with onnxruntime 288 MiB on the disk",
        "the same, 8 of 8, within 8.2e-7",
    ),
}
