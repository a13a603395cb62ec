"""How near pictures are to their targets (no TensorFlow needed)."""

import numpy as np
from skimage.metrics import structural_similarity

MIN_SIDE = 11  # of SSIM's window


def l1(picture: np.ndarray, target: np.ndarray) -> float:
    """Mean absolute difference of two uint8 pictures [h, w, c], on the scale where white is 1."""
    return float(np.abs(picture.astype(np.float64) - target).mean() / 255)


def psnr(picture: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures in dB, the peak being white; 100 for equal pictures."""
    error = np.square((picture.astype(np.float64) - target) / 255).mean()
    return float(-10 * np.log10(max(error, 1e-10)))


def ssim(picture: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity of two uint8 pictures, with the Gaussian window of Wang et al. (2004), mean over channels.

    Args:
        picture, target: [h, w, c] of 11 x 11 at least.
    """
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(picture, target, channel_axis=-1, data_range=255, **window))


def compare(picture: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """All three of a picture."""
    return {"l1": l1(picture, target), "psnr": psnr(picture, target), "ssim": ssim(picture, target)}
