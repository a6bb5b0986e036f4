"""The graph against a BERT that is written out in numpy: slow, and plainly what the papers say."""

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file

from plumbline_search.embedding import bert_graph, model_store

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def weights() -> dict[str, Array]:
    return dict(load_file(model_store.source() / "model.safetensors"))


@pytest.fixture(scope="module")
def shape() -> bert_graph.Shape:
    config = json.loads((model_store.source() / "config.json").read_text())
    return bert_graph.Shape(config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"])


@pytest.fixture(scope="module")
def session(weights: dict[str, Array], shape: bert_graph.Shape) -> Any:
    return ort.InferenceSession(
        bert_graph.build(weights, shape).SerializeToString(), providers=["CPUExecutionProvider"]
    )


def reference(weights: dict[str, Array], shape: bert_graph.Shape, tokens: list[int]) -> Array:
    """The embedding of one text, float64."""

    def dense(states: Array, name: str) -> Array:
        result: Array = states @ weights[f"{name}.weight"].astype(float).T + weights[f"{name}.bias"]
        return result

    def normalised(states: Array, name: str) -> Array:
        mean = states.mean(axis=-1, keepdims=True)
        variance = ((states - mean) ** 2).mean(axis=-1, keepdims=True)
        scaled = (states - mean) / np.sqrt(variance + shape.epsilon)
        result: Array = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return result

    def gelu(value: float) -> float:
        return value * 0.5 * (1 + math.erf(value / math.sqrt(2)))

    states = normalised(
        weights["embeddings.word_embeddings.weight"][tokens].astype(float)
        + weights["embeddings.position_embeddings.weight"][: len(tokens)]
        + weights["embeddings.token_type_embeddings.weight"][0],
        "embeddings.LayerNorm",
    )
    for layer in range(shape.layers):
        prefix = f"encoder.layer.{layer}"
        width = states.shape[1] // shape.heads
        heads = []
        for head in range(shape.heads):
            part = slice(head * width, (head + 1) * width)
            query, key, value = (
                dense(states, f"{prefix}.attention.self.{name}")[:, part] for name in ("query", "key", "value")
            )
            weight = np.exp(query @ key.T / math.sqrt(width))
            heads.append(weight / weight.sum(axis=-1, keepdims=True) @ value)
        attended = dense(np.concatenate(heads, axis=-1), f"{prefix}.attention.output.dense")
        middle = normalised(attended + states, f"{prefix}.attention.output.LayerNorm")
        wide = np.vectorize(gelu)(dense(middle, f"{prefix}.intermediate.dense"))
        states = normalised(dense(wide, f"{prefix}.output.dense") + middle, f"{prefix}.output.LayerNorm")
    mean = states.mean(axis=0)
    embedding: Array = mean / np.linalg.norm(mean)
    return embedding


def run(session: Any, tokens: list[list[int]], mask: list[list[int]] | None = None) -> Array:
    ids = np.array(tokens, np.int64)
    attention = np.ones_like(ids) if mask is None else np.array(mask, np.int64)
    (embedding,) = session.run(None, {"input_ids": ids, "attention_mask": attention})
    assert isinstance(embedding, np.ndarray)
    return embedding


SHORT = [101, 3435, 102]
LONG = [101, 1996, 4638, 5833, 4618, 2306, 3998, 12875, 2043, 1037, 8013, 12778, 102]


@pytest.mark.parametrize("tokens", [SHORT, LONG])
def test_the_graph_computes_what_the_papers_say(
    weights: dict[str, Array], shape: bert_graph.Shape, session: Any, tokens: list[int]
) -> None:
    np.testing.assert_allclose(run(session, [tokens])[0], reference(weights, shape, tokens), atol=2e-6)


def test_padding_changes_nothing(session: Any) -> None:
    padding = [0] * (len(LONG) - len(SHORT))
    mask = [[1] * len(SHORT) + padding, [1] * len(LONG)]
    together = run(session, [SHORT + padding, LONG], mask)
    np.testing.assert_allclose(together[0], run(session, [SHORT])[0], atol=2e-6)
    np.testing.assert_allclose(together[1], run(session, [LONG])[0], atol=2e-6)


def test_every_row_has_length_1(session: Any) -> None:
    np.testing.assert_allclose(np.linalg.norm(run(session, [LONG, LONG[::-1]]), axis=1), 1, atol=1e-6)


def test_weights_that_lack_a_layer_are_refused(weights: dict[str, Array]) -> None:
    with pytest.raises(KeyError, match=r"encoder\.layer\.6"):
        bert_graph.build(weights, bert_graph.Shape(layers=7, heads=12, epsilon=1e-12))
