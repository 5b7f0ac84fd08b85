"""int8 graphs: near the float ones, a row at a time, and never where 8 bits are too few."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from app.engine.session import session_options
from training.export.int8 import quantise_int8

WIDTH = 64
LAYER = """
    <ir_version: 10, opset_import: ["": 18]>
    text_valence (float[batch, time, 64] x)
      => (float[batch, time, 96] a, float[batch, time, 32] b, float[batch, time, 64] c)
    { a = MatMul (x, wide)
      b = MatMul (x, narrow)
      above = Relu (a)
      c = MatMul (above, back) }
"""


@pytest.fixture(scope="module")
def weights() -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(3)
    shapes = {"wide": (WIDTH, 96), "narrow": (WIDTH, 32), "back": (96, WIDTH)}
    return {name: (random.standard_normal(shape) / 8).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def paths(weights: dict[str, NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The layer in float32 and in int8."""
    folder = tmp_path_factory.mktemp("int8")
    model = onnx.parser.parse_model(LAYER)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.save(model, folder / "layer.onnx")
    return folder / "layer.onnx", quantise_int8({"text_valence": folder / "layer.onnx"}, folder)["text_valence"]


def _run(path: Path, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    found: list[NDArray[np.float32]] = onnxruntime.InferenceSession(path, session_options(1)).run(
        ["a", "b", "c"], {"x": x}
    )
    return found


def _x(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((*shape, WIDTH)).astype(np.float32)


def test_products_are_near_and_of_integers(paths: tuple[Path, Path]) -> None:
    for expected, found in zip(*(_run(path, _x(2, 7)) for path in paths), strict=True):
        error = np.abs(found - expected).max()
        assert 0 < error < 0.02 * np.abs(expected).max()
    operators = [node.op_type for node in onnx.load(paths[1]).graph.node]
    assert "MatMul" not in operators
    assert operators.count("MatMulIntegerToFloat") == 2  # those of the same input are one
    assert operators.count("Split") == 1


def test_a_row_does_not_see_its_neighbours(paths: tuple[Path, Path]) -> None:
    x = _x(1, 5)
    loud = x.copy()
    loud[0, 2] *= 1e4
    for quiet_found, loud_found in zip(_run(paths[1], x), _run(paths[1], loud), strict=True):
        np.testing.assert_array_equal(np.delete(quiet_found, 2, axis=1), np.delete(loud_found, 2, axis=1))


def test_rows_of_zeros_and_rows_that_the_relu_empties_give_zeros(
    paths: tuple[Path, Path], weights: dict[str, NDArray[np.float32]]
) -> None:
    x = _x(1, 3)
    x[0, 1] = 0
    # Sits so far on the negative side of every column that the ReLU leaves nothing.
    x[0, 2] = np.linalg.lstsq(weights["wide"].T, -np.ones(96), rcond=None)[0]
    emptied = (x[0, 2] @ weights["wide"]).max() < 0
    a, b, c = _run(paths[1], x)
    for found in (a, b, c):
        assert np.isfinite(found).all()
        assert (found[0, 1] == 0).all()
    assert not emptied or (c[0, 2] == 0).all()


def test_the_front_end_and_small_products_stay_as_they_are(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 18]>
        audio_arousal (float[batch, time, 64] x) => (float[batch, time, 64] spectrum, float[batch, time, 1] score)
        { spectrum = MatMul (x, dft)
          score = MatMul (x, last) }
    """)
    model.graph.node[0].name = "/features/MatMul"
    random = np.random.default_rng(5)
    for name, columns in (("dft", 64), ("last", 1)):
        weight = random.standard_normal((WIDTH, columns)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    onnx.save(model, tmp_path / "audio.onnx")
    path = quantise_int8({"audio_arousal": tmp_path / "audio.onnx"}, tmp_path)["audio_arousal"]
    assert [node.op_type for node in onnx.load(path).graph.node] == ["MatMul", "MatMul"]


def test_large_embedding_tables_become_8_bits(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 18]>
        tables (int64[batch, tokens] ids) => (float[batch, tokens, 128] words, float[batch, tokens, 128] places)
        { words = Gather (many, ids)
          places = Gather (few, ids) }
    """)
    random = np.random.default_rng(0)
    many, few = (random.standard_normal((rows, 128)).astype(np.float32) for rows in (3000, 20))
    many[7] = 0.0
    model.graph.initializer.extend(
        numpy_helper.from_array(table, name) for name, table in (("many", many), ("few", few))
    )
    onnx.save(model, tmp_path / "tables.onnx")
    path = quantise_int8({"text_valence": tmp_path / "tables.onnx"}, tmp_path)["text_valence"]
    assert path.stat().st_size < 0.3 * many.nbytes
    ids = np.array([[0, 7], [19, 2]])
    words, places = onnxruntime.InferenceSession(path, session_options(1)).run(["words", "places"], {"ids": ids})
    step = np.abs(many).max(axis=1)[ids] / 127
    assert (np.abs(words - many[ids]) <= step[:, :, None] / 2 + 1e-6).all()
    assert (places == few[ids]).all()
