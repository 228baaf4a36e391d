"""The four networks of MLPerf Tiny as models of the suite."""

from __future__ import annotations

from genn.suite.catalog import Entry, measured
from genn.suite.mlperf_data import AD, IC, KWS, VWW, Stored


def _entry(data: Stored, shape: tuple[int, ...], parameters: int, description: str) -> Entry:
    name, found = data.name.replace("-", "_"), measured().get(data.name, {})
    accuracy = found["float32"]["accuracy"] if "float32" in found else None
    return Entry(data.name, f"genn.suite.mlperf:{name}", f"{name}.safetensors", (1, *shape), data, parameters, accuracy,
                 f"MLPerf Tiny {description}")


_ENTRIES = (
    _entry(KWS, (1, 49, 10), 22_604, "keyword spotting, DS-CNN"),
    _entry(IC, (3, 32, 32), 77_706, "image classification, ResNet-8"),
    _entry(VWW, (3, 96, 96), 210_850, "visual wake words, MobileNetV1 0.25"),
    _entry(AD, (640,), 265_864, "anomaly detection, autoencoder"),
)
MLPERF: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
