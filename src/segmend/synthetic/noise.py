"""Noise on a lattice: a pure function of seed and position, so that blocks fit together.

Smooth value noise: a hash gives every lattice point a value, a cubic fade blends the eight around a
position (Perlin, "An image synthesizer", 1985, with values in place of gradients).
"""

from __future__ import annotations

import numpy as np
from numba import njit

_K0 = np.uint64(0x9E3779B97F4A7C15)
_K1 = np.uint64(0xC2B2AE3D27D4EB4F)
_K2 = np.uint64(0x165667B19E3779F9)
_M0 = np.uint64(0xBF58476D1CE4E5B9)
_M1 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_S11, _S21, _S42 = np.uint64(11), np.uint64(21), np.uint64(42)
_LOW21 = np.uint64(2**21 - 1)
_TO_UNIT = 1.0 / 2**53
_TO_SIGNED21 = 2.0 / (2**21 - 1)


@njit(cache=True, nogil=True)
def lattice_hash(seed: np.uint64, i: int, j: int, k: int) -> np.uint64:
    """64 bits for a lattice point (finaliser of SplitMix64, Steele et al. 2014)."""
    h = np.uint64(seed) ^ (np.uint64(i) * _K0) ^ (np.uint64(j) * _K1) ^ (np.uint64(k) * _K2)
    h = (h ^ (h >> _S30)) * _M0
    h = (h ^ (h >> _S27)) * _M1
    return h ^ (h >> _S31)


@njit(cache=True, nogil=True)
def unit(h: np.uint64) -> float:
    """The number in [0, 1) that 64 hashed bits stand for."""
    return np.float64(h >> _S11) * _TO_UNIT


@njit(cache=True, nogil=True)
def _fade(t: float) -> float:
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True)
def value_noise(seed: np.uint64, z: float, y: float, x: float) -> float:
    """Smooth noise in [-1, 1] with one random value per unit of length."""
    i, j, k = np.floor(z), np.floor(y), np.floor(x)
    fz, fy, fx = _fade(z - i), _fade(y - j), _fade(x - k)
    a, b, c = int(i), int(j), int(k)
    total = 0.0
    for dz in range(2):
        wz = fz if dz else 1.0 - fz
        for dy in range(2):
            wy = wz * (fy if dy else 1.0 - fy)
            low = unit(lattice_hash(seed, a + dz, b + dy, c))
            high = unit(lattice_hash(seed, a + dz, b + dy, c + 1))
            total += wy * (low + fx * (high - low))
    return 2.0 * total - 1.0


@njit(cache=True, nogil=True)
def vector_noise(seed: np.uint64, z: float, y: float, x: float) -> tuple[float, float, float]:
    """Three independent smooth noises in [-1, 1] at the price of one hash per lattice point."""
    i, j, k = np.floor(z), np.floor(y), np.floor(x)
    fz, fy, fx = _fade(z - i), _fade(y - j), _fade(x - k)
    a, b, c = int(i), int(j), int(k)
    u = v = w = 0.0
    for dz in range(2):
        wz = fz if dz else 1.0 - fz
        for dy in range(2):
            wy = wz * (fy if dy else 1.0 - fy)
            for dx in range(2):
                weight = wy * (fx if dx else 1.0 - fx)
                h = lattice_hash(seed, a + dz, b + dy, c + dx)
                u += weight * np.float64(h & _LOW21)
                v += weight * np.float64((h >> _S21) & _LOW21)
                w += weight * np.float64(h >> _S42 & _LOW21)
    return u * _TO_SIGNED21 - 1.0, v * _TO_SIGNED21 - 1.0, w * _TO_SIGNED21 - 1.0


@njit(cache=True, nogil=True)
def grain(seed: np.uint64, i: int, j: int, k: int) -> float:
    """Per-voxel noise, roughly normal with unit variance: the sum of three uniform draws."""
    h = lattice_hash(seed, i, j, k)
    total = (
        np.float64(h & _LOW21) + np.float64((h >> _S21) & _LOW21) + np.float64(h >> _S42 & _LOW21)
    )
    return total * _TO_SIGNED21 - 3.0
