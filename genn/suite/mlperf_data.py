"""How MLPerf Tiny's inputs are stored and what the networks are fed: features and pixels in 8 bits, scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Stored:
    """Inputs in ``data/FILE``, 8 bits each: real = scale * (stored - zero_point).

    Arrays x, y (y is left out where the inputs are synthetic) and calibration_x.  Images are stored NHWC.
    """

    name: str
    file: str
    dtype: str  # int8 or uint8
    scale: float
    zero_point: int = 0

    def normalise(self, stored: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """What the network is fed: float32, images as NCHW."""
        x = np.float32(self.scale) * (stored.astype(np.float32) - np.float32(self.zero_point))
        return np.ascontiguousarray(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)

    def store(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.generic]:
        """The nearest stored values of real inputs."""
        limits = np.iinfo(self.dtype)
        q = np.clip(np.rint(x / self.scale) + self.zero_point, limits.min, limits.max).astype(self.dtype)
        return np.ascontiguousarray(np.moveaxis(q, 1, -1) if q.ndim == 4 else q)

    def bounds(self) -> tuple[float, float]:
        """The least and the largest real value."""
        limits = np.iinfo(self.dtype)
        return self.scale * (limits.min - self.zero_point), self.scale * (limits.max - self.zero_point)


# Scales and zero points are those of the reference int8 models' inputs.
KWS = Stored("mlperf-kws", "mlperf_kws_samples.npz", "int8", 0.5847029089927673, 83)
IC = Stored("mlperf-ic", "mlperf_ic_samples.npz", "uint8", 1.0)
VWW = Stored("mlperf-vww", "mlperf_vww_samples.npz", "uint8", 1 / 255)
AD = Stored("mlperf-ad", "mlperf_ad_samples.npz", "int8", 0.3910152316093445, 89)
