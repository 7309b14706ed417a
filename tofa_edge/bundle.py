"""The bundle, `name.tofa`: the one file that goes to every device.

A stored zip (`archive.py`) of: `manifest.json` (schema, classes, space, pre-processing, provenance,
and sha256 and size of each other member), `weights.safetensors` (the supernet),
`golden.safetensors` (inputs and outputs by which an engine proves itself), `calibration/*.jpg`
(unlabelled) and `check/*.jpg` (labelled). Everything is checked before it is used; nothing is
executed, unpickled or extracted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from tofa_edge.archive import Archive, one_line, write_archive
from tofa_edge.errors import BundleError, ImageError, SpaceError
from tofa_edge.images import decode, stack
from tofa_edge.layers import supernet_shapes
from tofa_edge.network import FloatArray, ImageArray, Preprocessing
from tofa_edge.space import SearchSpace, Subnet

SCHEMA = 1
MANIFEST, WEIGHTS, GOLDEN = "manifest.json", "weights.safetensors", "golden.safetensors"
MOST_MANIFEST_BYTES = 4 * 2**20
MOST_HEADER_BYTES = 2**20
MOST_GOLDEN_BYTES = 64 * 2**20
MOST_IMAGE_BYTES = 4 * 2**20
MOST_GOLDEN_CASES = 64
MOST_PIXEL_UNITS = 1e6
PHOTO = re.compile(r"(calibration|check)/[0-9]{5}\.jpg", re.ASCII)
CLASS_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")  # no controls for terminals

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GoldenCase:
    """What one subnet must compute, from the stored weights with the stored statistics.

    Attributes:
        subnet: which.
        images: uint8, (N, S, S, 3).
        logits: float32, (N, classes), computed by torch on the host.
    """

    subnet: Subnet
    images: ImageArray
    logits: FloatArray


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle. Its manifest is read; all else is read, and its hash checked, when asked.

    Attributes:
        path: of the file.
        space: all subnets that can be cut from it.
        classes: names, in the order of the logits.
        preprocessing: of every subnet.
        provenance: how it was made, for people.
        digest: identifies the content (SHA-256 of the manifest, in hexadecimal).
    """

    path: Path
    space: SearchSpace
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    provenance: Mapping[str, str | int | float | bool | None]
    digest: str
    _archive: Archive
    _hashes: Mapping[str, str]
    _check_labels: tuple[int, ...]
    _golden_subnets: tuple[Subnet, ...]

    @staticmethod
    def open(path: str | Path) -> Bundle:
        """Opens a bundle and checks its manifest.

        Raises:
            BundleError: it cannot be read, is damaged, hostile, or of a newer schema.
        """
        archive = Archive.open(Path(path))
        return _read_manifest(archive, archive.read(MANIFEST, MOST_MANIFEST_BYTES))

    def supernet(self) -> dict[str, FloatArray]:
        """Returns the supernet's arrays, float32, by name, shaped as in `supernet_shapes`.

        Raises:
            BundleError: they are damaged, of other shapes, or not finite.
        """
        shapes = supernet_shapes(self.space)
        expected = sum(4 * int(np.prod(shape)) for shape in shapes.values())
        stored = self._tensors(WEIGHTS, expected + MOST_HEADER_BYTES)
        if stored.keys() != shapes.keys():
            differing = one_line(", ".join(sorted(stored.keys() ^ shapes.keys())[:3]))
            raise BundleError(f"{self.path}: weights do not fit the space: {differing}")
        arrays: dict[str, FloatArray] = {}
        for name, shape in shapes.items():
            array = stored.pop(name)
            if array.shape != shape:
                raise BundleError(f"{self.path}: {name}: wanted shape {shape}, got {array.shape}")
            if array.dtype not in (np.float32, np.float16):
                raise BundleError(f"{self.path}: {name}: wanted float32 or 16, got {array.dtype}")
            arrays[name] = array.astype(np.float32, copy=False)
            if not np.isfinite(arrays[name]).all():
                raise BundleError(f"{self.path}: {name} holds numbers that are not finite")
            if name.endswith(".variance") and (arrays[name] < 0).any():
                raise BundleError(f"{self.path}: {name} holds negative variances")
        return arrays

    @property
    def half_precision(self) -> bool:
        """Whether weights are stored in 16 bits, judged by size."""
        total = sum(int(np.prod(shape)) for shape in supernet_shapes(self.space).values())
        return self._archive.sizes[WEIGHTS] < 3 * total

    @property
    def member_sizes(self) -> Mapping[str, int]:
        """Bytes of each member by name."""
        return self._archive.sizes

    @property
    def calibration_count(self) -> int:
        """How many unlabelled photos it carries."""
        return len(self._names("calibration"))

    @property
    def check_count(self) -> int:
        """How many labelled photos it carries."""
        return len(self._check_labels)

    def calibration_images(self, size: int, most: int | None = None) -> ImageArray:
        """Returns the first `most` calibration images, uint8, (N, size, size, 3), in mixed order.

        Raises:
            BundleError: one is damaged.
        """
        return self._images(self._names("calibration")[:most], size)

    def check_images(self, size: int) -> tuple[ImageArray, Labels]:
        """Returns the check images, uint8, (N, size, size, 3), and their labels, (N,).

        Raises:
            BundleError: one is damaged.
        """
        return self._images(self._names("check"), size), np.array(self._check_labels, np.int64)

    def golden_cases(self) -> tuple[GoldenCase, ...]:
        """Returns the golden cases.

        Raises:
            BundleError: they are damaged or do not fit their subnets.
        """
        stored = self._tensors(GOLDEN, MOST_GOLDEN_BYTES)
        cases = []
        for index, subnet in enumerate(self._golden_subnets):
            images, logits = stored.get(f"images_{index}"), stored.get(f"logits_{index}")
            size = subnet.resolution
            if images is None or images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
                raise BundleError(f"{self.path}: golden case {index} has no fitting images")
            wanted = (len(images), len(self.classes))
            if logits is None or logits.dtype != np.float32 or logits.shape != wanted:
                raise BundleError(f"{self.path}: golden case {index} has no fitting logits")
            if not len(images) or not np.isfinite(logits).all():
                raise BundleError(f"{self.path}: golden case {index} is empty or not finite")
            cases.append(GoldenCase(subnet, images, logits))
        if len(stored) != 2 * len(cases):
            raise BundleError(f"{self.path}: {GOLDEN} holds more than {len(cases)} cases")
        return tuple(cases)

    def verify(self) -> None:
        """Reads and checks every member.

        Raises:
            BundleError: naming the first that is damaged.
        """
        self.supernet()
        self.golden_cases()
        for kind in ("calibration", "check"):
            for _ in self._decoded(self._names(kind), self.space.resolutions[0]):
                pass  # decoding is the check

    @cached_property
    def _members_by_kind(self) -> dict[str, list[str]]:
        kinds: dict[str, list[str]] = {"calibration": [], "check": []}
        for name in sorted(self._hashes):
            kind = name.split("/")[0]
            if kind in kinds:
                kinds[kind].append(name)
        return kinds

    def _names(self, kind: str) -> list[str]:
        return self._members_by_kind[kind]

    def _read_each(self, names: Sequence[str], most_bytes: int) -> Iterator[bytes]:
        contents = self._archive.read_each(names, most_bytes)
        for name, content in zip(names, contents, strict=True):
            if hashlib.sha256(content).hexdigest() != self._hashes[name]:
                raise BundleError(f"{self.path}: {name} is damaged; copy the bundle again")
            yield content

    def _decoded(self, names: Sequence[str], size: int) -> Iterator[ImageArray]:
        try:
            contents = self._read_each(names, MOST_IMAGE_BYTES)
            for name, content in zip(names, contents, strict=True):
                yield decode(content, size, name)
        except ImageError as error:
            raise BundleError(f"{self.path}: {error}") from error

    def _images(self, names: Sequence[str], size: int) -> ImageArray:
        return stack(list(self._decoded(names, size)), size)

    def _tensors(self, name: str, most_bytes: int) -> dict[str, NDArray[Any]]:
        (content,) = self._read_each([name], most_bytes)
        if int.from_bytes(content[:8], "little") > MOST_HEADER_BYTES:
            raise BundleError(f"{self.path}: the header of {name} is too long; refused")
        try:
            return dict(safetensors.numpy.load(content))
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
            raise BundleError(f"{self.path}: {name} is damaged: {one_line(error)}") from error


def _read_manifest(archive: Archive, content: bytes) -> Bundle:
    try:
        return _parse_manifest(archive, content)
    except RecursionError as error:
        raise BundleError(f"{archive.path}: its manifest is nested too deep; refused") from error
    except (SpaceError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise BundleError(f"{archive.path}: its manifest is wrong: {one_line(error)}") from error


def _parse_manifest(archive: Archive, content: bytes) -> Bundle:
    value = json.loads(content.decode())
    if not isinstance(value, dict) or value.get("format") != "tofa-edge bundle":
        raise ValueError("it does not call itself a tofa-edge bundle")
    schema = value["schema"]
    if type(schema) is not int or schema < 1:
        raise ValueError("its schema is no positive integer")
    if schema > SCHEMA:
        raise BundleError(
            f"{archive.path}: bundle schema {str(schema)[:20]} is newer than {SCHEMA}, the newest "
            "this version reads: pip install --upgrade tofa-edge"
        )
    hashes = _check_member_list(archive, value["members"])
    space = SearchSpace.from_dict(value["space"])
    classes = _list(value["classes"], space.classes)
    if len(classes) != space.classes or not all(map(CLASS_NAME.fullmatch, classes)):
        raise ValueError(f"wanted {space.classes} class names without control characters")
    pre = value["preprocessing"]
    preprocessing = Preprocessing(_three_numbers(pre["mean"]), _three_numbers(pre["std"]))
    labels = _list(value["check_labels"], len(hashes))
    checks = sum(name.startswith("check/") for name in hashes)
    if len(labels) != checks or not all(type(n) is int and 0 <= n < len(classes) for n in labels):
        raise ValueError(f"wanted {checks} check labels in 0..{len(classes) - 1}")
    cases = _list(value["golden"], MOST_GOLDEN_CASES)
    golden = tuple(Subnet.from_json(json.dumps(case)) for case in cases)
    for subnet in golden:
        space.validate(subnet)
    provenance = value["provenance"]
    if not all(isinstance(item, str | int | float | None) for item in provenance.values()):
        raise ValueError("provenance wants plain values")
    digest = hashlib.sha256(content).hexdigest()
    return Bundle(
        archive.path, space, classes, preprocessing, provenance, digest,
        archive, hashes, labels, golden,
    )  # fmt: skip


def _list(value: object, most: int) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"wanted a list of at most {most} items")
    return tuple(value)


def _three_numbers(value: object) -> tuple[float, float, float]:
    numbers = [
        float(number)
        for number in _list(value, 3)
        if type(number) in (int, float) and abs(number) <= MOST_PIXEL_UNITS
    ]
    if len(numbers) != 3:
        raise ValueError("pre-processing wants 3 means and 3 stds of sane size")
    return (numbers[0], numbers[1], numbers[2])


def _check_member_list(archive: Archive, listed: Mapping[str, Any]) -> dict[str, str]:
    sizes = {name: size for name, size in archive.sizes.items() if name != MANIFEST}
    if {name: entry["size"] for name, entry in listed.items()} != sizes:
        names = sorted(listed.keys() ^ sizes.keys())[:3]
        raise ValueError(f"members differ from its list: {', '.join(names) or 'sizes'}")
    for needed in (WEIGHTS, GOLDEN):
        if needed not in sizes:
            raise ValueError(f"{needed} is missing")
    for name in sizes:
        if name not in (WEIGHTS, GOLDEN) and not PHOTO.fullmatch(name):
            raise ValueError(f"{name} is no member of a bundle")
    return {name: str(entry["sha256"]) for name, entry in listed.items()}


def stored_precision(arrays: Mapping[str, FloatArray], half: bool) -> dict[str, NDArray[Any]]:
    """Returns arrays as a bundle stores them: float32, or weights in float16 if `half`.

    BatchNorm parameters and statistics, biases and kernel matrices stay float32.
    """
    return {
        name: array.astype(np.float16) if half and name.endswith(".weight") else array
        for name, array in arrays.items()
    }


def write_bundle(
    path: str | Path,
    *,
    space: SearchSpace,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    arrays: Mapping[str, NDArray[Any]],
    golden: Sequence[GoldenCase],
    calibration: Sequence[bytes],
    check: Sequence[tuple[bytes, int]],
    provenance: Mapping[str, str | int | float | bool | None],
) -> None:
    """Writes a bundle, complete or not at all.

    Args:
        path: of the file, by custom ending in `.tofa`.
        space: of the supernet.
        classes: names in the order of the logits.
        preprocessing: of every subnet.
        arrays: the supernet's, as `stored_precision` returns them.
        golden: computed from exactly these arrays.
        calibration: JPEG files in mixed order, unlabelled.
        check: JPEG files and their labels.
        provenance: plain values for people.

    Raises:
        BundleError: the folder is not writable or the disk is full, or the values are such that
            `Bundle.open` would refuse the bundle.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    tensors = {f"images_{i}": np.ascontiguousarray(case.images) for i, case in enumerate(golden)}
    logits = {f"logits_{i}": np.ascontiguousarray(case.logits) for i, case in enumerate(golden)}
    members = {
        WEIGHTS: safetensors.numpy.save(contiguous),
        GOLDEN: safetensors.numpy.save({**tensors, **logits}),
        **{f"calibration/{i:05}.jpg": content for i, content in enumerate(calibration)},
        **{f"check/{i:05}.jpg": content for i, (content, _) in enumerate(check)},
    }
    manifest = {
        "format": "tofa-edge bundle",
        "schema": SCHEMA,
        "classes": list(classes),
        "space": space.to_dict(),
        "preprocessing": dataclasses.asdict(preprocessing),
        "provenance": dict(provenance),
        "check_labels": [label for _, label in check],
        "golden": [json.loads(case.subnet.to_json()) for case in golden],
        "members": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in members.items()
        },
    }
    text = json.dumps(manifest, separators=(",", ":")).encode()
    sizes = {name: len(content) for name, content in members.items()}
    _read_manifest(Archive(Path(path), sizes), text)
    write_archive(Path(path), {MANIFEST: text, **members})
