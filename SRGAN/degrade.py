"""Photographs as people have them: what makes of a clean image a blurred, noisy and compressed lr image.

After BSRGAN (Zhang et al., 2021) and Real-ESRGAN (Wang et al., 2021): blur, resizing, sensor noise and JPEG, twice
over, each with random strength. Milder than theirs, and some images are only shrunk: a network of this size that is
trained on the worst smooths what is good.
"""

import io
from typing import Any, NamedTuple

import baseline
import numpy as np
from PIL import Image
from scipy.signal import fftconvolve

CLEAN = 0.1  # the share of images that are only shrunk
KERNEL = 15  # pixels: the height and width of a blur kernel
ANISOTROPIC = 0.5  # the share of blurs that are wider in one direction, as of a moved camera
GREY = 0.4  # the share of noise that is the same in all channels
KERNELS = (Image.BOX, Image.BILINEAR, Image.BICUBIC)  # of resizing


class Stage(NamedTuple):
    """The strengths of one round; each pair is a range."""

    blurred: float  # the share that is
    sigma: tuple[float, float]  # of the blur, pixels
    size: tuple[float, float]  # to resize to: of hr in the first stage, of lr in the second
    noise: tuple[float, float]  # standard deviation, of 255
    photons: tuple[float, float]  # that make white: powers of 10
    quality: tuple[int, int]  # of JPEG


FIRST = Stage(1.0, (0.2, 2.5), (0.3, 1.2), (0.0, 15.0), (2.0, 4.0), (40, 95))
SECOND = Stage(0.7, (0.2, 1.0), (0.6, 1.5), (0.0, 10.0), (2.3, 4.0), (30, 95))


def degrade(hr: np.ndarray, scale: int, rng: np.random.Generator) -> np.ndarray:
    """A uint8 image [scale h, scale w, 3] as a bad photograph uint8 [h, w, 3]; the same for the same state of `rng`."""
    height, width = hr.shape[0] // scale, hr.shape[1] // scale
    if rng.random() < CLEAN:
        return baseline.shrink(hr, scale)
    x = _round(hr, FIRST, hr.shape[:2], rng)
    x = jpeg(x, int(rng.integers(*FIRST.quality, endpoint=True)))
    x = _round(x, SECOND, (height, width), rng)
    x = baseline.resize(x, height, width, int(rng.choice(KERNELS)))
    return jpeg(x, int(rng.integers(*SECOND.quality, endpoint=True)))


def _round(x: np.ndarray, stage: Stage, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Blur, resizing and noise of one stage; JPEG follows."""
    if rng.random() < stage.blurred:
        one, other = rng.uniform(*stage.sigma, 2)
        angle = rng.uniform(0, np.pi)
        x = blur(x, gaussian_kernel(one, other if rng.random() < ANISOTROPIC else one, angle))
    factor = rng.uniform(*stage.size)
    x = baseline.resize(x, *(max(1, round(side * factor)) for side in size), int(rng.choice(KERNELS)))
    if rng.random() < 0.5:
        sigma = rng.uniform(*stage.noise)
    else:  # a sensor counts photons: Poisson's noise, by the normal distribution that it is near to
        sigma = np.sqrt(x * (255.0 / 10 ** rng.uniform(*stage.photons)))
    return noise(x, sigma, rng.random() < GREY, rng)


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float = 0.0) -> np.ndarray:
    """float32 [KERNEL, KERNEL] with a sum of 1, its axes turned by `angle` (radians)."""
    y, x = np.indices((KERNEL, KERNEL)) - KERNEL // 2
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((u / sigma_x) ** 2 + (v / sigma_y) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def blur(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A uint8 image [h, w, c] convolved with a kernel, its borders mirrored."""
    edge = kernel.shape[0] // 2
    padded = np.pad(image.astype(np.float32), [(edge, edge), (edge, edge), (0, 0)], "symmetric")
    return _uint8(fftconvolve(padded, kernel[..., None], "valid", axes=(0, 1)))


def noise(image: np.ndarray, sigma: Any, grey: bool, rng: np.random.Generator) -> np.ndarray:
    """A uint8 image [h, w, c] with normal noise of the standard deviation `sigma`, one number or [h, w, c]; `grey`: the
    same in all channels, up to sigma."""
    return _uint8(image + sigma * rng.standard_normal((*image.shape[:2], 1 if grey else image.shape[2]), np.float32))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """A uint8 image [h, w, 3] as JPEG leaves it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
