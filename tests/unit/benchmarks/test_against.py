"""External networks: what they want is found out, and their accuracy is theirs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.unit.benchmarks.other_networks import colour_bundle, write_onnx, write_tflite
from tofa_edge.benchmarks.suite.against import (
    IN_ORDER,
    NO_PREPROCESSING,
    Against,
    OtherNetwork,
    accuracy_on,
)
from tofa_edge.benchmarks.suite.other_network import Input, load
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BackendError
from tofa_edge.network.network import LITE_PREPROCESSING, Preprocessing

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
IMAGE = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return colour_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize("shape", [(1, 24, 24, 3), ("N", 3, 32, 32)], ids=["last", "first"])
def test_an_onnx_file_is_judged_on_the_check_photos(
    bundle: Bundle, tmp_path: Path, shape: tuple[int | str, ...]
) -> None:
    path = tmp_path / "theirs.onnx"
    write_onnx(path, shape)
    loaded = load(path, 1)
    assert (loaded.input.size, loaded.input.channels_first) == (shape[2], shape[1] == 3)
    accuracy, note = accuracy_on(bundle, Against(path, LITE_PREPROCESSING), loaded)
    assert accuracy is not None
    assert (accuracy.right, accuracy.of, note) == (3, 3, IN_ORDER)
    assert accuracy_on(bundle, Against(path), loaded) == (None, NO_PREPROCESSING)


def test_a_float_tflite_file_is_judged_on_the_check_photos(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "theirs.tflite"
    write_tflite(path, 32)
    loaded = load(path, 1)
    assert loaded.input == Input("photo", 32, False, "float32")
    accuracy, _ = accuracy_on(bundle, Against(path, LITE_PREPROCESSING), loaded)
    assert accuracy is not None
    assert accuracy.right == 3


def test_labels_tell_the_order_of_classes(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "theirs.tflite"
    write_tflite(path, 32, order=(1, 0, 2))
    names = ["class 1", "class 0", *(f"class {number}" for number in range(2, 10))]
    asked = Against(path, LITE_PREPROCESSING)
    without, _ = accuracy_on(bundle, asked, load(path, 1))
    assert without is not None
    assert without.right == 1, "two of three are called by each other's name"
    told = Against(path, LITE_PREPROCESSING, tuple(names))
    accuracy, note = accuracy_on(bundle, told, load(path, 1))
    assert accuracy is not None
    assert (accuracy.right, note) == (3, "")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("labels.txt", "\n".join(names))
    inside, _ = accuracy_on(bundle, asked, load(path, 1))
    assert inside == accuracy


def test_other_classes_have_no_accuracy(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    write_onnx(path, (1, 24, 24, 3))
    asked = Against(path, LITE_PREPROCESSING, tuple(f"animal {number}" for number in range(10)))
    found, why = accuracy_on(bundle, asked, load(path, 1))
    assert found is None
    assert "its classes are others: animal 0" in why


def test_pixels_go_in_as_they_are_where_a_file_takes_them(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    write_onnx(path, (1, 24, 24, 3), kind=2)
    accuracy, _ = accuracy_on(bundle, Against(path), load(path, 1))
    assert accuracy is not None
    assert accuracy.right == 3


def test_arrays_are_as_files_want_them() -> None:
    wanted = (IMAGE.astype(np.float32) - (10, 20, 30)) / (2, 4, 8)
    known = Preprocessing((10.0, 20.0, 30.0), (2.0, 4.0, 8.0))
    last = Input("x", 2, False, "float32").array(IMAGE, known)
    np.testing.assert_allclose(last[0], wanted)
    first = Input("x", 2, True, "float16").array(IMAGE, known)
    assert first.shape == (1, 3, 2, 2)
    assert first.dtype == np.dtype("float16")
    np.testing.assert_allclose(first[0].transpose(1, 2, 0), wanted, rtol=1e-3)
    steps = Input("x", 2, False, "int8", scale=0.5, zero=-3).array(IMAGE, known)
    np.testing.assert_array_equal(steps[0], np.clip(np.rint(wanted / 0.5) - 3, -128, 127))
    pixels = Input("x", 2, False, "uint8").array(IMAGE, None)
    np.testing.assert_array_equal(pixels[0], IMAGE)


def test_files_that_are_no_image_classifiers_are_refused(tmp_path: Path) -> None:
    for name, content, said in (
        ("a.bin", b"x", "ends in .onnx or .tflite"),
        ("b.onnx", b"x", "onnxruntime refuses it"),
        ("c.tflite", b"x", "tflite refuses it"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BackendError, match=said) as found:
            OtherNetwork.open(Against(tmp_path / name))
        assert str(found.value).isprintable()
    with pytest.raises(BackendError, match="there is none"):
        OtherNetwork.open(Against(tmp_path / "none.onnx"))
    write_onnx(tmp_path / "wide.onnx", (1, 24, 32, 3))
    with pytest.raises(BackendError, match="one square RGB image"):
        OtherNetwork.open(Against(tmp_path / "wide.onnx"))
    write_onnx(tmp_path / "any.onnx", (1, "H", "W", 3))
    with pytest.raises(BackendError, match="say which with --against-size"):
        OtherNetwork.open(Against(tmp_path / "any.onnx"))
    assert OtherNetwork.open(Against(tmp_path / "any.onnx", size=20))
    with pytest.raises(BackendError, match="as many labels as outputs, 10, got 2"):
        OtherNetwork.open(Against(tmp_path / "any.onnx", labels=("a", "b"), size=20))
