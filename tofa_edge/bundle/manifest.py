"""The manifest of a bundle: everything in it that is not an array or a photo, checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.bundle.finalists import MOST_FINALISTS, ListedFinalist
from tofa_edge.errors import BundleError, SpaceError
from tofa_edge.network.network import Preprocessing
from tofa_edge.storage.files import one_line

SCHEMA = 3  # 2 may carry predictors; 3 lists finalists, and has more members
FORMAT = "tofa-edge bundle"
MANIFEST, WEIGHTS, GOLDEN = "manifest.json", "weights.safetensors", "golden.safetensors"
PREDICTORS = "predictors.safetensors"
PEAK = "largest_value"  # in the provenance: of training photos of more than 8 bits
CLASSIFIER, GOLDEN_IMAGES = "classifier.safetensors", "golden_images.safetensors"  # from 3 on
FINALISTS = "finalists.safetensors"
MOST_GOLDEN_CASES = 64
MOST_PIXEL_UNITS = 1e6
TEMPERATURES = (0.01, 100.0)  # training fits 0.1 to 10
PHOTO = re.compile(r"(calibration|check)/[0-9]{5}\.jpg", re.ASCII)
MOST_NAME = 200  # characters
PRINTABLE = re.compile(  # no controls for terminals
    rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{0,{MOST_NAME}}}"
)

Provenance: TypeAlias = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself; see `Bundle`."""

    space: SearchSpace
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    provenance: Provenance
    check_labels: tuple[int, ...]  # of the check photos, in the order of their names
    golden: tuple[Subnet, ...]  # of the golden cases
    hashes: Mapping[str, str]  # SHA-256 of each other member, in hexadecimal
    temperature: float = 1.0
    finalists: tuple[ListedFinalist, ...] = ()

    def to_bytes(self, sizes: Mapping[str, int]) -> bytes:
        """Returns the manifest as JSON."""
        value = {
            "format": FORMAT,
            "schema": SCHEMA,
            "classes": self.classes,
            "space": self.space.to_dict(),
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "provenance": dict(self.provenance),
            "check_labels": self.check_labels,
            "temperature": self.temperature,
            "golden": [json.loads(subnet.to_json()) for subnet in self.golden],
            "finalists": [
                {
                    "subnet": json.loads(each.subnet.to_json()),
                    "accuracy": each.accuracy,
                    "arrays": each.has_arrays,
                }
                for each in self.finalists
            ],
            "members": {
                name: {"sha256": digest, "size": sizes[name]}
                for name, digest in self.hashes.items()
            },
        }
        return json.dumps(value, separators=(",", ":")).encode()


def sha256(content: bytes) -> str:
    """Returns the SHA-256 of content in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_manifest(path: Path, content: bytes, sizes: Mapping[str, int]) -> Manifest:
    """Returns a manifest, checked."""
    try:
        return _parse(path, content, sizes)
    except RecursionError as error:
        raise BundleError(f"{path}: its manifest is nested too deep; refused") from error
    except (SpaceError, ValueError, OverflowError) as error:
        raise BundleError(f"{path}: its manifest is wrong: {one_line(error)}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path}: its manifest lacks a field or has one of another type: {one_line(error)}"
        ) from error


def _parse(path: Path, content: bytes, sizes: Mapping[str, int]) -> Manifest:
    value = json.loads(content.decode())
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"it does not call itself a {FORMAT}")
    _check_schema(path, value["schema"])
    schema: int = value["schema"]
    others = {name: size for name, size in sizes.items() if name != MANIFEST}
    hashes = _hashes(value["members"], others, schema)
    space = SearchSpace.from_dict(value["space"])
    classes = _list(value["classes"], space.classes)
    if len(classes) != space.classes or not all(name and printable(name) for name in classes):
        raise ValueError(f"wanted {space.classes} class names without control characters")
    labels = _list(value["check_labels"], len(hashes))
    checks = sum(name.startswith("check/") for name in hashes)
    if len(labels) != checks or not all(type(n) is int and 0 <= n < len(classes) for n in labels):
        raise ValueError(f"wanted {checks} check labels in 0..{len(classes) - 1}")
    cases = _list(value["golden"], MOST_GOLDEN_CASES)
    golden = tuple(Subnet.from_json(json.dumps(case)) for case in cases)
    if not golden:
        raise ValueError("wanted golden cases, for the self-test of engines")
    for subnet in golden:
        space.validate(subnet)
    pre, provenance = _preprocessing(value["preprocessing"]), value["provenance"]
    if not all(printable(key) and _plain(item) for key, item in provenance.items()):
        raise ValueError("provenance wants plain values without control characters")
    temperature = value["temperature"] if schema > 1 else value.get("temperature", 1.0)
    finalists = _finalists(value["finalists"], space) if schema > 2 else ()
    if any(each.has_arrays for each in finalists) != (FINALISTS in hashes):
        raise ValueError(f"wanted {FINALISTS} where a finalist has arrays, and only there")
    about = space, classes, pre, provenance, labels, golden, hashes
    return Manifest(*about, _temperature(temperature), finalists)


def _finalists(value: object, space: SearchSpace) -> tuple[ListedFinalist, ...]:
    found: dict[Subnet, ListedFinalist] = {}
    for index, item in enumerate(_list(value, MOST_FINALISTS)):
        subnet = Subnet.from_json(json.dumps(item["subnet"]))
        accuracy, has_arrays = item["accuracy"], item["arrays"]
        space.validate(subnet)
        if subnet in found:
            raise ValueError(f"finalist {index} is listed twice")
        if type(accuracy) not in (int, float) or not 0 <= accuracy <= 1:
            raise ValueError(f"finalist {index}: wanted an accuracy in 0..1")
        if type(has_arrays) is not bool:
            raise ValueError(f"finalist {index}: wanted true or false for its arrays")
        found[subnet] = ListedFinalist(subnet, float(accuracy), has_arrays)
    return tuple(found.values())


def _temperature(value: object) -> float:
    least, most = TEMPERATURES
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f"wanted a temperature in {least}..{most}")
    return float(value)  # type: ignore[arg-type]


def _check_schema(path: Path, schema: object) -> None:
    if type(schema) is not int or schema < 1:
        raise ValueError("its schema is no positive integer")
    if schema > SCHEMA:
        raise BundleError(
            f"{path}: bundle schema {str(schema)[:20]} is newer than {SCHEMA}, the newest "
            "this version reads: pip install --upgrade tofa-edge"
        )


def _hashes(listed: Mapping[str, Any], sizes: Mapping[str, int], schema: int) -> dict[str, str]:
    if {name: entry["size"] for name, entry in listed.items()} != sizes:
        names = sorted(listed.keys() ^ sizes.keys())[:3]
        raise ValueError(f"members differ from its list: {', '.join(names) or 'sizes'}")
    needed = (WEIGHTS, GOLDEN) if schema < 3 else (WEIGHTS, CLASSIFIER, GOLDEN, GOLDEN_IMAGES)
    for name in needed:
        if name not in sizes:
            raise ValueError(f"{name} is missing")
    known = {*needed, PREDICTORS} if schema < 3 else {*needed, PREDICTORS, FINALISTS}
    for name in sizes:
        if name not in known and not PHOTO.fullmatch(name):
            raise ValueError(f"{name} is no member of a bundle")
    return {name: str(entry["sha256"]) for name, entry in listed.items()}


def _preprocessing(value: Mapping[str, Any]) -> Preprocessing:
    crop = value["crop"]
    if type(crop) not in (int, float):
        raise ValueError("pre-processing wants a number for its crop")
    return Preprocessing(_three_numbers(value["mean"]), _three_numbers(value["std"]), float(crop))


def _three_numbers(value: object) -> tuple[float, float, float]:
    numbers = [
        float(number)
        for number in _list(value, 3)
        if type(number) in (int, float) and abs(number) <= MOST_PIXEL_UNITS
    ]
    if len(numbers) != 3:
        raise ValueError("pre-processing wants 3 means and 3 stds of sane size")
    return (numbers[0], numbers[1], numbers[2])


def _list(value: object, most: int) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"wanted a list of at most {most} items")
    return tuple(value)


def printable(value: object) -> bool:
    """Returns whether a `value` is text for a bundle: up to 200 characters, no controls."""
    return isinstance(value, str) and PRINTABLE.fullmatch(value) is not None


def _plain(value: object) -> bool:
    return printable(value) or isinstance(value, int | float | None)
