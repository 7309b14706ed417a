"""Device profiles: files, pooling, ranking, and those that come with the package."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tofa_edge.architecture.zoo import tiny
from tofa_edge.benchmarks.studies import published_profiles
from tofa_edge.device.machine import Fingerprint, State, fingerprint, state
from tofa_edge.device.sensors import PowerMode
from tofa_edge.device_profiles.matching import merge, nearest
from tofa_edge.device_profiles.profile import (
    MEASURED,
    MOST_BYTES,
    PUBLISHED,
    SCHEMA_FILE,
    MeasuredTarget,
    Measurement,
    Profile,
    from_json,
    load,
    save,
    shipped,
    to_json,
)
from tofa_edge.errors import ProfileError

PI4 = Fingerprint(
    board="Raspberry Pi 4 Model B Rev 1.5", architecture="aarch64", cpu_bits=64, userland_bits=64,
    processors={"Cortex-A72": 4}, features=("asimd",), cores=4, allowed_cores=4,
    maximum_clock_mhz=1800.0, memory_bytes=3976200192, operating_system="Debian 12",
)  # fmt: skip
TARGET = {"engine": "x", "unit": "cpu", "precision": "fp32", "measurements": []}
SUBNET = tiny().largest().to_json()


def profile(**fields: Any) -> Profile:
    rows = (
        Measurement(5.0, 5.5, 0.002, 200, subnet=SUBNET, mmacs=1.5, flags=("busy",)),
        Measurement(9.0, network="mobilenet_v2 1.0 224"),
    )
    made = Profile(
        name="kitchen",
        fingerprint=PI4,
        provenance=MEASURED,
        date="2026-11-24",
        software={"tofa-edge": "0.3.0", "onnxruntime": "1.20.1"},
        state=State(governors=("performance",), temperatures_c={"cpu": 51.5}, on_battery=False,
                    power_mode=PowerMode(0, "MAXN")),
        targets=(MeasuredTarget("onnxruntime", "cpu", "fp32", 4, rows),),
        notes=("at night",),
    )  # fmt: skip
    return dataclasses.replace(made, **fields)


def target(*latencies_ms: float, threads: int = 4) -> MeasuredTarget:
    rows = tuple(Measurement(value, network=f"network {value}") for value in latencies_ms)
    return MeasuredTarget("onnxruntime", "cpu", "fp32", threads, rows)


@pytest.fixture(scope="module")
def validate() -> Callable[[object], None]:
    jsonschema = pytest.importorskip("jsonschema")  # wanted by this test alone
    schema = json.loads(files("tofa_edge.device_profiles").joinpath("schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    def check(value: object) -> None:
        validator.validate(value)

    return check


@pytest.mark.parametrize(
    "made",
    [
        profile(),
        profile(targets=(), state=None, software=None, notes=()),
        profile(targets=(MeasuredTarget("x", "gpu", "int8", 1, ()),)),
        profile(name='"targets": []\\ {}', provenance=PUBLISHED, source="https://example.org"),
        profile(fingerprint=fingerprint(), state=state()),
    ],
)
def test_file_round_trip(tmp_path: Path, made: Profile, validate: Callable[[object], None]) -> None:
    path = tmp_path / "device.json"
    save(made, path)
    assert load(path) == made
    assert [item.name for item in tmp_path.iterdir()] == ["device.json"]
    validate(json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": None}, "no schema_version"),
        ({"schema_version": True}, "no schema_version"),
        ({"schema_version": 0}, "no schema_version"),
        ({"date": "yesterday"}, "wanted a date"),
        ({"provenance": "heard of"}, "provenance: wanted one of"),
        ({"provenance": PUBLISHED}, "want their source"),
        ({"more": 1}, "no field 'more'"),
        ({"fingerprint": {"cores": "4"}}, "fingerprint.cores: wanted int"),
        ({"targets": {}}, "targets: wanted a list"),
        ({"targets": [target(1.0), target(2.0)]}, "stands twice"),
        ({"targets": [{"engine": "x"}]}, "lacks the field 'unit'"),
        ({"targets": [{**TARGET, "threads": 0}]}, "wanted 1..4096 threads"),
        ({"measurement": {"p50_ms": 0, "network": "x"}}, "p50_ms must be positive"),
        ({"measurement": {"p50_ms": 1, "p95_ms": 0.5, "network": "x"}}, "at least p50_ms"),
        ({"measurement": {"p50_ms": 1}}, "one of subnet and network"),
        ({"measurement": {"p50_ms": 1, "network": "x", "subnet": SUBNET}}, "one of subnet"),
        ({"measurement": {"p50_ms": 1, "subnet": "{}"}}, "not a subnet"),
        ({"measurement": {"p50_ms": 1, "network": "x", "runs": 0}}, "runs must be positive"),
        ({"measurement": {"p50_ms": 1, "network": "x", "mmacs": -1}}, "mmacs must be positive"),
        ({"measurement": {"p50_ms": 1, "network": "x", "log_standard_error": -1}}, "not be neg"),
        ({"measurement": {"p50_ms": 1e400, "network": "x"}}, "finite number"),
    ],
)  # fmt: skip
def test_damaged_file_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    value = json.loads(to_json(profile()))
    if "measurement" in change:
        value["targets"][0]["measurements"] = [change["measurement"]]
    else:
        value |= change
    path = tmp_path / "device.json"
    path.write_text(json.dumps(value, default=lambda item: json.loads(dumped(item))))
    with pytest.raises(ProfileError, match=said) as caught:
        load(path)
    assert str(path) in str(caught.value)


def dumped(item: MeasuredTarget) -> str:
    return json.dumps(json.loads(to_json(profile(targets=(item,))))["targets"][0])


def test_newer_schema_says_to_upgrade() -> None:
    value = json.loads(to_json(profile())) | {"schema_version": 2, "more": "fields"}
    with pytest.raises(ProfileError, match="pip install --upgrade tofa-edge"):
        from_json(json.dumps(value).encode(), "device.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b"null"])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(ProfileError, match="not a whole device profile"):
        from_json(content, "device.json")


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    content = to_json(profile()).encode()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 20)))
    damaged = content[:start] + data.draw(st.binary(max_size=20)) + content[end:]
    with contextlib.suppress(ProfileError):
        assert isinstance(from_json(damaged, "device.json"), Profile)


def test_missing_and_large_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        load(tmp_path / "none.json")
    path = tmp_path / "large.json"
    with path.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    with pytest.raises(ProfileError, match="refused"):
        load(path)


def test_unwritable_place_is_said_and_left_clean(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be written"):
        save(profile(), tmp_path / "no such folder" / "device.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProfileError, match="cannot be written"):
        save(profile(), tmp_path / "folder")
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_pooling_puts_the_newest_first() -> None:
    old = profile(date="2026-01-01", name="old", targets=(target(1.0), target(2.0, threads=1)))
    new = profile(date="2026-06-01", name="new", targets=(target(3.0, 1.0),))
    pooled = merge([old, new])
    assert pooled.name == "new"
    assert [(str(item), [row.p50_ms for row in item.measurements]) for item in pooled.targets] == [
        ("onnxruntime cpu fp32 4t", [3.0, 1.0]),  # 1.0 is the same measurement, once
        ("onnxruntime cpu fp32 1t", [2.0]),
    ]
    assert merge([pooled, new, old]) == pooled
    assert merge([new]) == new


def test_repeated_but_different_measurements_are_all_kept() -> None:
    rows = [Measurement(value, network="the same") for value in (4.0, 4.1)]
    made = [
        profile(targets=(MeasuredTarget("x", "cpu", "fp32", 1, (row,)),), date=f"2026-0{n}-01")
        for n, row in enumerate(rows, 1)
    ]
    assert [row.p50_ms for row in merge(made).targets[0].measurements] == [4.1, 4.0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"board": "Raspberry Pi 5 Model B"}, "board"),
        ({"processors": {"Cortex-A76": 4}}, "processors"),
        ({"quota_cores": 2.0}, "usable cores is 4 and 2"),
        ({"maximum_clock_mhz": 1500.0}, "maximum_clock_mhz"),
        ({"userland_bits": 32}, "userland_bits"),
    ],
)
def test_other_devices_are_not_pooled(fields: dict[str, Any], said: str) -> None:
    other = profile(name="attic", fingerprint=dataclasses.replace(PI4, **fields))
    with pytest.raises(ProfileError, match=said):
        merge([profile(), other])


def test_measured_and_published_are_not_pooled() -> None:
    with pytest.raises(ProfileError, match="provenance"):
        merge([profile(), profile(provenance=PUBLISHED, source="somebody")])
    with pytest.raises(ProfileError, match="at least one"):
        merge([])


def test_revision_of_the_board_does_not_matter_to_pooling() -> None:
    other = dataclasses.replace(PI4, board="Raspberry Pi 4 Model B Rev 1.4", kernel="6.12")
    assert merge([profile(), profile(fingerprint=other)]).name == "kitchen"


def test_nearest_goes_by_board_then_processor_then_instructions_then_architecture() -> None:
    def device(name: str, **fields: Any) -> Profile:
        return profile(name=name, fingerprint=dataclasses.replace(PI4, **fields))

    others = [
        device("x86", board="PC", architecture="x86_64", processors={"EPYC": 8}, features=("avx",)),
        device("dot", board="Pi 5", processors={"Cortex-A76": 4}, features=("asimd", "asimddp")),
        device("slow", board="Raspberry Pi 4 Model B", maximum_clock_mhz=1500.0),
        device("same chip", board="CM4 carrier"),
        device("same instructions", board="Pi 3", processors={"Cortex-A53": 4}),
        device("same", board="Raspberry Pi 4 Model B Rev 1.1"),
        device("virtual", board=PI4.board, processors={"Neoverse-N1": 4}),
    ]
    matches = nearest(PI4, others)
    assert [match.profile.name for match in matches] == [
        "same", "slow", "same chip", "same instructions", "virtual", "dot", "x86",
    ]  # fmt: skip
    assert matches[0].distance == 0
    assert matches[0].reason == "the same board (Raspberry Pi 4 Model B)"
    assert matches[1].reason.endswith("1500 MHz instead of 1800")
    assert matches[2].reason == "the same processor (Cortex-A72)"
    assert [int(match.distance) for match in matches] == [0, 0, 1, 2, 2, 3, 4]


def test_own_measurements_come_before_published_ones() -> None:
    published = profile(name="a", provenance=PUBLISHED, source="somebody")
    found = nearest(PI4, [published, profile(name="b")])
    assert [match.profile.name for match in found] == ["b", "a"]
    assert found[0].distance == found[1].distance


def test_unknown_device_is_compared_without_complaint() -> None:
    junk = Fingerprint(maximum_clock_mhz=-1.0, cores=0)
    for ours in (Fingerprint(), junk):
        assert len(nearest(ours, [profile(), profile(fingerprint=junk)])) == 2


@pytest.mark.parametrize("made", shipped(), ids=lambda made: made.name)
def test_shipped_profiles_follow_the_schema(
    made: Profile, validate: Callable[[object], None]
) -> None:
    validate(json.loads(to_json(made)))
    assert made.targets
    if made.provenance == MEASURED:
        assert made.space == "efficientnet_lite0"
        assert all(len(item.measurements) >= 40 for item in made.targets)
        return
    assert made.source
    assert made.licence
    for item in made.targets:
        assert all(row.network and row.flags for row in item.measurements)


def test_shipped_files_are_as_save_writes_them() -> None:
    folder = files("tofa_edge.device_profiles")
    found = [item for item in folder.iterdir() if item.name.endswith(".json")]
    found = [item for item in found if item.name != SCHEMA_FILE]
    assert len(found) == len(shipped()) == len(published_profiles.BOARDS) + len(shipped(True))
    assert {profile.provenance for profile in shipped(True)} == {MEASURED}
    for item in found:
        assert to_json(from_json(item.read_bytes(), item.name)) == item.read_text(encoding="utf-8")


def test_schema_and_reader_agree_on_fields(validate: Callable[[object], None]) -> None:
    schema = json.loads(files("tofa_edge.device_profiles").joinpath("schema.json").read_bytes())
    for kind, part in (
        (Profile, schema),
        (Fingerprint, schema["$defs"]["fingerprint"]),
        (State, schema["$defs"]["state"]),
        (PowerMode, schema["$defs"]["power_mode"]),
        (MeasuredTarget, schema["$defs"]["target"]),
        (Measurement, schema["$defs"]["measurement"]),
    ):
        assert {item.name for item in dataclasses.fields(kind)} == set(part["properties"])


def test_shipped_figures_are_those_published() -> None:
    found = {made.fingerprint.board: made for made in shipped()}
    targets = {str(item): item for item in found["Raspberry Pi 4 Model B"].targets}
    rows = {row.network: row for row in targets["ncnn cpu fp32 4t"].measurements}
    assert rows["mobilenet_v2 1.0 224"].p50_ms == 61.88
    assert rows["mobilenet_v2 1.0 224"].mmacs == 300
    nano = {str(item): item for item in found["NVIDIA Jetson Orin Nano"].targets}
    assert {"ncnn gpu fp16 1t", "ncnn cpu fp16 6t", "ncnn cpu int8 6t"} <= set(nano)


@pytest.mark.parametrize(
    ("board", "processors", "expected"),
    [
        ("Raspberry Pi 4 Model B Rev 1.4", {"Cortex-A72": 4}, "Raspberry Pi 4 Model B"),
        ("Raspberry Pi 5 Model B Rev 1.0", {"Cortex-A76": 4}, "Raspberry Pi 5 Model B"),
        ("Raspberry Pi Zero 2 W Rev 1.0", {"Cortex-A53": 4}, "Raspberry Pi Zero 2 W"),
        (
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
            {"Cortex-A78AE": 6},
            "NVIDIA Jetson Orin Nano",
        ),
        ("NVIDIA Jetson Nano Developer Kit", {"Cortex-A57": 4}, "NVIDIA Jetson Nano"),
    ],
)
def test_real_boards_find_their_published_profile(
    board: str, processors: dict[str, int], expected: str
) -> None:
    match = nearest(Fingerprint(board=board, processors=processors, cores=4), shipped())[0]
    assert match.profile.fingerprint.board == expected
    assert match.reason.startswith("the same board")


TABLE = """\
device,run_id,num_threads,powersave,gpu_device,loop_count,model,min_ms,max_ms,avg_ms,readme_line
"Raspberry Pi 4 Model B Broadcom, Cortex-A72",85,4,0,-1.0,10,mobilenet_v2,61.63,62.02,61.88,1
"Raspberry Pi 4 Model B Broadcom, Cortex-A72",85,4,0,-1.0,10,mobilenet_int8,50,80,55,1
"Raspberry Pi 4 Model B Broadcom, Cortex-A72",85,4,0,-1.0,10,yolov4-tiny,400,500,450,1
NVIDIA Jetson Nano,197,1,0,0.0,8,resnet18,43.96,44.06,44.01,4
iPhone 5S (Apple A7 1.3GHz x 2),214,2,0,-1.0,8,resnet18,100,101,100.5,5
"""


def test_published_table_becomes_profiles(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    pi, nano = published_profiles.profiles(published_profiles.read(path))
    assert published_profiles.file_name(pi) == "raspberry_pi_4_model_b_ncnn.json"
    plain, quantised = pi.targets
    assert (str(plain), str(quantised)) == ("ncnn cpu fp32 4t", "ncnn cpu int8 4t")
    (row,) = plain.measurements  # the detector is left out
    assert (row.p50_ms, row.runs, row.p95_ms) == (61.88, 10, None)
    assert row.log_standard_error == pytest.approx(0.00065, rel=0.1)
    assert quantised.measurements[0].flags == ("mean", "uneven")
    assert str(nano.targets[0]) == "ncnn gpu fp16 1t"


def test_expected_range_is_that_of_the_table() -> None:
    for count, expected in ((2, 1.128), (4, 2.059), (10, 3.078), (100, 5.015)):
        assert published_profiles.expected_range(count) == pytest.approx(expected, abs=2e-3)


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("device,model\nNVIDIA Jetson Nano,resnet18\n")
    with pytest.raises(ProfileError, match="wanted the columns"):
        published_profiles.profiles(published_profiles.read(path))
    with pytest.raises(ProfileError, match="cannot be read"):
        published_profiles.read(tmp_path / "none.csv.gz")
