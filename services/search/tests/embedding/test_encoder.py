import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from plumbline_search.embedding import bert_graph, encoder, model_store
from plumbline_search.embedding.encoder import Encoder
from plumbline_search.embedding.model_store import DIMENSIONS

TEXTS = [
    "payments slow after deploy",
    "The checkout takes longer than 300 ms since the new release.",
    "Disk of the database host is nearly full",
    "A reviewer approves a revision; the author can't.",
]


@pytest.fixture(scope="module")
def minilm(model_cache: Path) -> Encoder:
    return Encoder(model_store.ensure(model_cache))


def test_vectors_are_float32_of_length_1(minilm: Encoder) -> None:
    vectors = minilm.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_int8_stays_near_float32(minilm: Encoder) -> None:
    files = model_store.source()
    config = json.loads((files / "config.json").read_text())
    graph = bert_graph.build(
        load_file(files / "model.safetensors"),
        bert_graph.Shape(config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"]),
    )
    exact = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(files / "tokenizer.json"))
    tokenizer.no_padding()
    for text, vector in zip(TEXTS, minilm.encode(TEXTS), strict=True):
        tokens = np.array([tokenizer.encode(text).ids], np.int64)
        (expected,) = exact.run(None, {"input_ids": tokens, "attention_mask": np.ones_like(tokens)})
        assert vector @ expected[0] > 0.98


@pytest.mark.parametrize(
    ("question", "answer", "other"),
    [
        ("payments are slow", "latency of the checkout service is too high", "backups are kept for a year"),
        ("disk almost full", "the host runs out of storage space", "login fails with a wrong password"),
        ("service unavailable", "requests fail because the backend is down", "the report is written in English"),
    ],
)
def test_a_paraphrase_is_nearer_than_another_subject(minilm: Encoder, question: str, answer: str, other: str) -> None:
    asked, near, far = minilm.encode([question, answer, other])
    assert asked @ near > asked @ far + 0.1


def test_a_text_has_the_same_vector_whatever_its_neighbours(minilm: Encoder) -> None:
    alone = minilm.encode([TEXTS[0]])[0]
    among = minilm.encode([*TEXTS[1:], "word " * 300, TEXTS[0]])[-1]
    np.testing.assert_array_equal(alone, among)


@pytest.mark.parametrize("text", ["", " ", "\x00", "🚨🔥", "نص من اليمين", "a" * 100_000])
def test_every_text_has_a_vector(minilm: Encoder, text: str) -> None:
    assert np.isfinite(minilm.encode([text])).all()


def test_what_lies_beyond_the_limit_of_tokens_is_not_read(minilm: Encoder) -> None:
    long = "latency " * 1000
    np.testing.assert_array_equal(minilm.encode([long])[0], minilm.encode([long + "banana"])[0])


def test_a_process_encodes_with_what_it_loaded(model_cache: Path, minilm: Encoder) -> None:
    encoder.load(model_cache)
    np.testing.assert_array_equal(encoder.encode(TEXTS), minilm.encode(TEXTS))
