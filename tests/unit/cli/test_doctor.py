"""What doctor prints: of a machine of which everything is known, and of one without data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tofa_edge.cli import doctor
from tofa_edge.cli.doctor import EngineHere, Examination, lines
from tofa_edge.device.machine import Fingerprint, State
from tofa_edge.device.problems import problems
from tofa_edge.device.sensors import PowerMode


def test_machine_without_data_is_unknown() -> None:
    output = list(lines(Examination(Fingerprint(), State(), (), ())))
    assert "board: unknown" in output
    assert "clock now: unknown" in output
    assert "throttled now: unknown" in output
    assert "nearest profile: none of this architecture" in output
    assert output[-1] == "problems: none found"


def test_nearest_profile_is_named_with_its_provenance(
    offer: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer()  # no engine beside the reference: none is tried
    pi = Fingerprint(board="Raspberry Pi 4 Model B Rev 1.5", processors={"Cortex-A72": 4}, cores=4)
    monkeypatch.setattr(doctor, "fingerprint", lambda: pi)
    nearest = doctor.examine().nearest_profile
    assert nearest is not None
    assert nearest.startswith(
        "Raspberry Pi 4 Model B, ncnn (published, not measured by us): the same"
    )
    monkeypatch.setattr(doctor, "fingerprint", lambda: Fingerprint(architecture="sparc"))
    assert doctor.examine().nearest_profile is None


def test_everything_known_is_printed() -> None:
    machine = Fingerprint(
        board="Jetson", board_release="L4T 36.4.3", processors={"Cortex-A78AE": 6}, cores=6,
        maximum_clock_mhz=1510.4, quota_cores=2.0, memory_bytes=2**33, memory_limit_bytes=2**29,
        features=("asimddp",), cpu_bits=64, userland_bits=32, architecture="aarch64",
    )  # fmt: skip
    current = State(
        governors=("schedutil",), clocks_mhz=(729.6, 1510.4, 800.0), temperatures_c={"cpu": 81.5},
        throttled_now=(), throttled_since_boot=("throttled",), power_mode=PowerMode(3, "7W"),
        fastest_power_mode=PowerMode(0, "MAXN"), on_battery=False, load_average=0.5,
    )  # fmt: skip
    killed = ("npu fp32 1t: crash: SIGILL (step: load and run on npu fp32 1t)",)
    engines = (
        EngineHere("tflite", ("cpu fp32 1t",), None, "litert 2", (), "2026-01-02"),
        EngineHere("abacus", (), "no beads", remarks=("beads 1 is also installed: too few",)),
        EngineHere("hasty", (), None, "hasty 1", killed, "2026-01-02"),
    )
    wrong = tuple(problems(machine, current))
    examination = Examination(machine, current, engines, wrong)
    output = "\n".join(lines(examination))
    for line in (
        "board: Jetson (L4T 36.4.3)",
        "processor: 6 × Cortex-A78AE, at most 1510 MHz",
        "architecture: aarch64, system uses 32 of 64 bits",
        "cores: 6, usable here: 2, 2 cores' time",
        "memory: 8,192 MiB, of which this process may use 512 MiB",
        "clock now: 730 to 1510 MHz",
        "throttled now: none",
        "throttled since boot: throttled",
        "power mode: 7W",
        "power from: mains",
        "engine tflite: works: cpu fp32 1t (litert 2, self-test of 2026-01-02)",
        f"engine hasty: not used (hasty 1, self-test of 2026-01-02)\n   {killed[0]}",
        "engine abacus: no beads\n   beads 1 is also installed: too few",
        "   fix: sudo nvpmodel -m 0 && sudo jetson_clocks",
    ):
        assert f"\n{line}\n" in f"\n{output}\n"
    assert json.loads(json.dumps(examination.to_dict()))["problems"][0]["what"] == wrong[0].what


def test_faults_are_shown_until_tested_again(
    offer: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    monkeypatch.setenv("COUNT_IN", str(asked))
    offer("wrong", "sound")
    output = "\n".join(lines(doctor.examine()))
    assert "engine sound: works: cpu fp32 1t (sound 1, self-test of 20" in output
    assert "engine wrong: not used (" in output
    assert "   cpu fp32 1t: wrong numbers: 1.0e-02 of the largest logit off" in output
    doctor.examine()
    assert asked.read_text().count("asked") == 1
    doctor.examine(retest=True)
    assert asked.read_text().count("asked") == 2
