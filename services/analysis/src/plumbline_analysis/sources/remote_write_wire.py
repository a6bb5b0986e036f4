"""The messages of Prometheus remote-write 1.0 and 2.0, with only the fields that are needed.

Samples, and series and labels of 1.0, are declared as `bytes`, as `otlp_wire` has it: `remote_write_samples` reads
samples by columns, and labels as they stand are the key under which a series is known. Metadata of 1.0 and exemplars
are not read.

Field numbers: prompb/remote.proto, prompb/types.proto and prompb/io/prometheus/write/v2/types.proto of
prometheus/prometheus. The start of a sample was `created_timestamp` of its series before 2.0-rc.4.
"""

from typing import Any

from plumbline_analysis.sources import wire

_MESSAGES = {
    "Label": {"string name": 1, "string value": 2},
    "Sample": {"double value": 1, "int64 timestamp": 2, "int64 start_timestamp": 3},
    "BucketSpan": {"sint32 offset": 1, "uint32 length": 2},
    "Histogram": {
        "uint64 count_int": 1,
        "double count_float": 2,
        "double sum": 3,
        "sint32 schema": 4,
        "double zero_threshold": 5,
        "uint64 zero_count_int": 6,
        "double zero_count_float": 7,
        "repeated BucketSpan negative_spans": 8,
        "repeated sint64 negative_deltas": 9,
        "repeated double negative_counts": 10,
        "repeated BucketSpan positive_spans": 11,
        "repeated sint64 positive_deltas": 12,
        "repeated double positive_counts": 13,
        "int32 reset_hint": 14,
        "int64 timestamp": 15,
        "repeated double custom_values": 16,
        "int64 start_timestamp": 17,
    },
    "LabelledSeries": {"repeated bytes labels": 1, "repeated bytes samples": 2, "repeated Histogram histograms": 4},
    "WriteRequest": {"repeated bytes timeseries": 1},
    "Metadata": {"int32 type": 1, "uint32 unit_ref": 4},
    "SymbolizedSeries": {
        "repeated uint32 labels_refs": 1,
        "repeated bytes samples": 2,
        "repeated Histogram histograms": 3,
        "Metadata metadata": 5,
        "int64 created_timestamp": 6,
    },
    "Request": {"repeated string symbols": 4, "repeated SymbolizedSeries timeseries": 5},
}

_CLASSES = wire.classes("plumbline.prometheus", _MESSAGES)
WriteRequest: Any = _CLASSES["WriteRequest"]
"""Of 1.0: `WriteRequest.FromString(body)`; raises `google.protobuf.message.DecodeError`."""
Request: Any = _CLASSES["Request"]
"""Of 2.0, likewise."""
LabelledSeries: Any = _CLASSES["LabelledSeries"]
"""One of the series of a WriteRequest."""
Label: Any = _CLASSES["Label"]
"""One of the labels of such a series."""
Sample: Any = _CLASSES["Sample"]
"""One of the samples of a series of either version."""
