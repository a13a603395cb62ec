"""How near pictures are to their targets (no TensorFlow needed).

All take uint8 pictures [h, w, c], black 0 and white 255, and give one number of one picture; a mean over pictures is a
mean of these, so that a mean PSNR is not the PSNR of the mean MSE.
"""

import numpy as np
from skimage.metrics import structural_similarity

WINDOW = 11  # pixels, of SSIM: no side may be shorter
NAMES = ("mse", "psnr", "ssim")


def mse(picture: np.ndarray, target: np.ndarray) -> float:
    """Mean squared difference on the scale where white is 1, as papers on text editing print it."""
    return float(np.square((picture.astype(np.float64) - target) / 255).mean())


def psnr(picture: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, the peak being 255; 100 for equal pictures."""
    return float(-10 * np.log10(max(mse(picture, target), 1e-10)))


def ssim(picture: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity, -1 to 1, with a range of 255, the mean over channels.

    By Wang et al. (2004) with their Gaussian window of 11 x 11 (deviation 1.5), only where all of it is inside.
    """
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(picture, target, channel_axis=-1, data_range=255, **window))


def dice(picture: np.ndarray, target: np.ndarray) -> float:
    """Overlap of two skeletons, white on black, 0 to 1: 2 sum(xy) / (sum x + sum y), greys counting as parts of 1.

    It is 1 less the loss that trains them. Two black pictures agree: 1.
    """
    x, y = picture / 255, target / 255
    total = x.sum() + y.sum()
    return float(2 * (x * y).sum() / total) if total else 1.0


def compare(picture: np.ndarray, target: np.ndarray, skeletons: bool = False) -> dict[str, float]:
    """{"mse", "psnr", "ssim"} of two pictures, and of skeletons {"dice"} too."""
    values = {"mse": mse(picture, target), "psnr": psnr(picture, target), "ssim": ssim(picture, target)}
    return {**values, "dice": dice(picture, target)} if skeletons else values
