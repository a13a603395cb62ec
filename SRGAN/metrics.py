"""How near an enlarged image is to the original, in three conventions, and how sharp it looks (without TensorFlow).

    y        luma as MATLAB's rgb2ycbcr gives it (BT.601, 16 for black, 235 for white, whole numbers) with a margin
             shaved off: what papers print, this one too
    rgb      all three channels, the whole image
    y_full   luma from 0 for black to 255 for white (0.299 R + 0.587 G + 0.114 B), the whole image

The peak is 255 in all of them, so that y reads 20 log10(255 / 219) = 1.32 dB higher than y_full for the same images,
before the margin: numbers of different conventions cannot be compared. The paper's SSIM is another program's (Daala's):
it prints 0.7486 for bicubic on Set14 where the usual one, used here, is about 0.70.
"""

import numpy as np
from skimage.measure import blur_effect
from skimage.metrics import structural_similarity

WINDOW = 11  # of SSIM, pixels


def compare(image: np.ndarray, target: np.ndarray, shave: int) -> dict[str, float]:
    """PSNR in dB and SSIM of two uint8 images [h, w, 3] in every convention: {"psnr_y", "ssim_y", "psnr_rgb", ...}.

    Args:
        shave: pixels to take off each side for y (4 at x4, the paper's section 3.1); h and w are at least `WINDOW` + 2
            `shave`.
    """
    inner, both = slice(shave, -shave or None), (image, target)
    conventions = {
        "y": [luma(x)[inner, inner, None] for x in both],
        "rgb": [x.astype(np.float64) for x in both],
        "y_full": [full_luma(x)[..., None] for x in both],
    }
    measures = {"psnr": psnr, "ssim": ssim}
    return {f"{m}_{name}": measures[m](*views) for name, views in conventions.items() for m in measures}


def luma(image: np.ndarray) -> np.ndarray:
    """BT.601 luma of uint8 RGB [h, w, 3], whole numbers from 16 to 235 as float64 [h, w]."""
    return np.round(16 + image @ np.array([65.481, 128.553, 24.966]) / 255)


def full_luma(image: np.ndarray) -> np.ndarray:
    """BT.601 luma of uint8 RGB [h, w, 3] over the full range, float64 [h, w], 0 to 255."""
    return image @ np.array([0.299, 0.587, 0.114])


def psnr(image: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio of float images in 0..255, in dB with the peak at 255; 100 for equal images."""
    return float(-10 * np.log10(max(np.square((image - target) / 255).mean(), 1e-10)))


def ssim(image: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity of float images [h, w, c] in 0..255, the mean over channels.

    By Wang et al. (2004) with their Gaussian window of 11 x 11, only where all of it is inside the image.
    """
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(image, target, channel_axis=-1, data_range=255, **window))


def blur(image: np.ndarray) -> float:
    """How blurred a uint8 image [h, w, 3] looks by itself, from 0, sharp, to 1 (Crete et al., 2007).

    It tells how much the image changes when it is blurred once more; noise counts as sharp.
    """
    with np.errstate(invalid="ignore"):
        value = blur_effect(full_luma(image))
    return float(np.nan_to_num(value, nan=1.0))  # an image of one colour has no edge to judge by
