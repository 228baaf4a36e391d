"""The four networks of MLPerf Tiny as models of the suite."""

from __future__ import annotations

from genn.suite.catalog import Entry
from genn.suite.mlperf_data import AD, IC, KWS, VWW, Stored


def _entry(data: Stored, shape: tuple[int, ...], parameters: int, accuracy: float | None, description: str) -> Entry:
    name = data.name.replace("-", "_")
    return Entry(data.name, f"genn.suite.mlperf:{name}", f"{name}.safetensors", (1, *shape), data, parameters, accuracy,
                 f"MLPerf Tiny {description}")


# Accuracy: 901 of 1,000 and 171 of 200 evaluation inputs, as the reference float models reach (900 and 171).
_ENTRIES = (
    _entry(KWS, (1, 49, 10), 22_604, 90.1, "keyword spotting, DS-CNN"),
    _entry(IC, (3, 32, 32), 77_706, 85.5, "image classification, ResNet-8"),
    _entry(VWW, (3, 96, 96), 210_850, None, "visual wake words, MobileNetV1 0.25"),
    _entry(AD, (640,), 265_864, None, "anomaly detection, autoencoder"),
)
MLPERF: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
