"""Text to vector, synchronously: what runs in the embedding process, on one core."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from plumbline_search.embedding import model_store
from plumbline_search.embedding.model_store import DIMENSIONS

Vectors = npt.NDArray[np.float32]
"""float32 (n, dimensions), each row of length 1."""

MAX_TOKENS = 256
"""The model's own limit; what follows is not read."""
BEHIND = 19
"""The niceness of a process that embeds documents: queries have the processor first."""


class Encoder:
    """MiniLM-L6-v2, int8. Cost: about 0.17 ms a token on one core, at least 3 ms a text."""

    def __init__(self, model: model_store.Model, max_tokens: int = MAX_TOKENS) -> None:
        # Here, since the service's own process only names `load` and `encode`: it need not carry 60 MB of runtime.
        import onnxruntime as ort
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(model.tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            str(model.onnx),
            options,
            providers=["CPUExecutionProvider"],
            # The fused operator is six times slower than Add and LayerNormalization: 10 % of the whole.
            disabled_optimizers=["SkipLayerNormFusion"],
        )

    def encode(self, texts: list[str]) -> Vectors:
        """One row a text. An empty text has a vector too, that of no words.

        Each text runs alone. Dynamic quantisation takes its scale from the whole batch, so a text's vector would
        depend on its neighbours (cosine down to 0.98 between two batches), and on one thread a batch of 16 is no
        faster than 16 single runs (77 against 79 texts/s of 60 tokens).
        """
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            tokens = np.array([self._tokenizer.encode(text).ids], np.int64)
            (embedding,) = self._session.run(
                ["embedding"], {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
            )
            row[:] = embedding[0]
        return vectors


_loaded: Encoder | None = None


def load(cache: Path, max_tokens: int = MAX_TOKENS) -> None:
    """Make this process's encoder ready; the first on a machine builds it."""
    global _loaded
    _loaded = Encoder(model_store.ensure(cache), max_tokens)


def load_behind(cache: Path) -> None:
    """The same in a process that leaves the processor to others."""
    os.nice(BEHIND)
    load(cache)


def encode(texts: list[str]) -> Vectors:
    """`Encoder.encode` with the encoder that `load` made ready."""
    assert _loaded is not None, "load() comes first"
    return _loaded.encode(texts)
