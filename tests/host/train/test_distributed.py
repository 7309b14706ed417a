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
from PIL import Image

from tofa_edge.errors import TrainingError
from tofa_edge.train.distributed import ALONE, Processes

STEPS = 6
SETTING = """
import json, os, signal, sys, time
from pathlib import Path
import numpy as np, torch
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.architecture.zoo import tiny
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.distributed import Processes
from tofa_edge.train.run.checkpoint import Checkpoints
from tofa_edge.train.run.phases import TrainingRun, optimise
from tofa_edge.train.supernet.supernet import Supernet
from tofa_edge.train.run.early_stopping import EarlyStopping

torch.set_num_threads(1)
processes = Processes.join("cpu")
images = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
labels = np.where(np.arange(48) < 24, np.arange(48) % 3, -1)
supernet = Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(0))
config = TrainingConfig(start="tiny", epochs=6, batch_size=16, learning_rate=1e-3)
"""
LOSSES = """
losses = []
run = TrainingRun(config, lambda p: losses.append(p.losses), processes=processes)
optimise(supernet, images, labels, run)
if processes.first:
    with open(sys.argv[1], "w") as file:
        json.dump(losses, file)
processes.leave()
"""
ENDED = """
seen, watch = {"watched": [], "interrupted": []}, None
class Scripted(EarlyStopping):
    def evaluate(self, progress, state):
        return progress.step == 3
    def restore_best(self, state):
        state.averaged.arrays()["stem.shift"].fill_(7.0)
if processes.first:
    watch = Scripted(images, labels, images)
run = TrainingRun(config, lambda p: seen["watched"].append(p.step), processes=processes)
trained = optimise(supernet, images, labels, run, early_stopping=watch).supernet
seen["shift"] = float(trained.arrays()["stem.shift"][0])
seen["mean"] = float(trained.arrays()["stem.mean"][0])
def interrupted(progress):
    seen["interrupted"].append(progress.step)
    if not processes.first and progress.step == 2:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # the same interruption once more
class Slow(Checkpoints):
    def save(self, state, phase):
        time.sleep(1.5)
        super().save(state, phase)
checkpoints = Slow(Path(sys.argv[1]), {})
try:
    run = TrainingRun(config, interrupted, checkpoints, processes)
    optimise(trained, images, labels, run)
except KeyboardInterrupt:
    seen["kept"] = checkpoints.path.exists()
with open(f"{sys.argv[1]}-{processes.rank}", "w") as file:
    json.dump(seen, file)
processes.leave()
"""
CROPS = """
from tofa_edge.train.data.files.folders import list_files
from tofa_edge.train.run.crop_pretraining import CropPretraining, pretrain_on_crops
from tofa_edge.train.supernet.start import new_supernet, read_start

losses, config = [], TrainingConfig(resolution=48)
run = TrainingRun(config, lambda p: losses.append(p.losses), processes=processes)
how = CropPretraining(2, ("lite0",), batch_size=8, teacher_resolution=48)
paths = list_files(Path(sys.argv[1]).parent / "photos").paths
pretrain_on_crops(new_supernet(read_start(config), config), paths, how, run)
if processes.first:
    Path(sys.argv[1]).write_text(json.dumps(losses))
processes.leave()
"""
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def run(tmp_path: Path, launcher: list[str], text: str, out: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SETTING + text)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    run(tmp_path, [], LOSSES, tmp_path / "one")
    run(tmp_path, TORCHRUN, LOSSES, tmp_path / "two")
    losses = [json.loads((tmp_path / name).read_text()) for name in ("one", "two")]
    counts = [[len(step) for step in each] for each in losses]
    assert counts[0] == counts[1] == [3, 2, 2, 2, 3, 2], "the largest learns in every fourth step"
    one, two = (np.concatenate(each) for each in losses)
    print(f"largest difference of a loss: {np.abs(one - two).max():.1e} of {one.max():.2f}")
    np.testing.assert_allclose(two, one, rtol=2e-3, atol=1e-4)
    assert losses[0][4][2] < losses[0][0][2]


def test_two_processes_learn_the_same_crops_as_one(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((96, 72)).save(tmp_path / "photos" / f"{number}.png")
    run(tmp_path, [], CROPS, tmp_path / "one")
    run(tmp_path, TORCHRUN, CROPS, tmp_path / "two")
    losses = [json.loads((tmp_path / name).read_text()) for name in ("one", "two")]
    assert [[len(step) for step in each] for each in losses] == [[3, 2], [3, 2]]
    one, two = (np.concatenate(each) for each in losses)
    np.testing.assert_allclose(two, one, rtol=5e-3)


def test_processes_end_together(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    run(tmp_path, TORCHRUN, ENDED, tmp_path / "seen")
    first, second = (json.loads((tmp_path / f"seen-{rank}").read_text()) for rank in (0, 1))
    assert first == second
    assert first["watched"] == [1, 2, 3], "the first one's watch ended the phase of both"
    assert first["shift"] == 7, "both have the best weights that the first one saw"
    assert first["interrupted"] == [1, 2], "a signal to the second one stopped both"
    assert first["kept"], "nobody left before the first one had written the checkpoint"


def test_batches_must_share_out_evenly() -> None:
    Processes(0, 2).check(4)
    with pytest.raises(TrainingError, match="a batch of 5 photos is not for 2 processes"):
        Processes(0, 2).check(5)
    with pytest.raises(TrainingError, match="a batch of 6 photos is not for 2 parts for 2 process"):
        Processes(0, 2).check(6, 2)
    ALONE.check(5, 2)


def test_one_process_takes_all() -> None:
    batch = torch.arange(6)
    assert torch.equal(ALONE.share(batch), batch)
    assert torch.equal(Processes(1, 2).share(batch), torch.tensor([1, 3, 5]))
