"""Two processes over gloo train as one: the same losses with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tofa_edge.errors import TrainingError
from tofa_edge.train.distributed import ALONE, Processes

STEPS = 6
SCRIPT = """
import json, sys
import numpy as np, torch
from tofa_edge.network import LITE_PREPROCESSING
from tofa_edge.spaces import tiny
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.distributed import Processes
from tofa_edge.train.phases import optimise
from tofa_edge.train.supernet import Supernet

torch.set_num_threads(1)
processes = Processes.join("cpu")
images = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
labels = np.where(np.arange(48) < 24, np.arange(48) % 3, -1)
supernet = Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(0))
config = TrainingConfig(start="tiny", epochs=6, batch_size=16, learning_rate=1e-3)
losses = []
optimise(supernet, images, labels, config, lambda p: losses.append(p.losses), processes=processes)
if processes.first:
    with open(sys.argv[1], "w") as file:
        json.dump(losses, file)
processes.leave()
"""


def losses(tmp_path: Path, launcher: list[str], name: str) -> np.ndarray[tuple[int, ...], np.dtype]:
    script, out = tmp_path / "script.py", tmp_path / name
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.array(json.loads(out.read_text()))


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    one = losses(tmp_path, [], "one")
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    two = losses(tmp_path, torchrun, "two")
    assert one.shape == two.shape == (STEPS, 4)
    print(f"largest difference of a loss: {np.abs(one - two).max():.1e} of {one.max():.2f}")
    np.testing.assert_allclose(two, one, rtol=2e-3, atol=1e-4)
    assert one[-1, 0] < one[0, 0]


def test_batches_must_share_out_evenly() -> None:
    with pytest.raises(TrainingError, match="a batch of 5 photos is not for 2 processes"):
        Processes(0, 2).check(4, 5)


def test_one_process_takes_all() -> None:
    batch = torch.arange(6)
    assert torch.equal(ALONE.share(batch), batch)
    assert torch.equal(Processes(1, 2).share(batch), torch.tensor([1, 3, 5]))
