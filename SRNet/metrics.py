"""How near images are to their targets, and the answers that need no learning (no TensorFlow needed).

Measures take uint8 images [h, w, c], black 0 and white 255, and give one number of one image; a mean over images is a
mean of these, so that a mean PSNR is not the PSNR of the mean MSE.
"""

import numpy as np
from scipy.ndimage import binary_dilation
from skimage.metrics import structural_similarity
from skimage.morphology import skeletonize
from skimage.restoration import inpaint_biharmonic

GREY = 127  # around the words of i_t and t_t
INK = 64  # levels: what is darker in i_t is the word
# Of the values tried these made inpainting strongest: blending changes the background a little far around a word.
DIFFERENT = 32  # levels: what i_s and t_b differ by, in any channel, where there is text
MARGIN = 1  # pixels that are painted over around that, for faint edges


def mse(image: np.ndarray, target: np.ndarray) -> float:
    """Mean squared difference on the scale where white is 1, as papers on text editing print it."""
    return float(np.square((image.astype(np.float64) - target) / 255).mean())


def psnr(image: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, the peak being 255; 100 for equal images."""
    return float(-10 * np.log10(max(mse(image, target), 1e-10)))


def ssim(image: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity, -1 to 1, with a range of 255, the mean over channels.

    By Wang et al. (2004) with their Gaussian window of 11 x 11 (deviation 1.5), only where all of it is inside.
    """
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(image, target, channel_axis=-1, data_range=255, **window))


def dice(image: np.ndarray, target: np.ndarray) -> float:
    """Overlap of two skeletons, white on black, 0 to 1: 2 sum(xy) / (sum x + sum y), greys counting as parts of 1.

    Two black images agree: 1.
    """
    x, y = image / 255, target / 255
    total = x.sum() + y.sum()
    return float(2 * (x * y).sum() / total) if total else 1.0


def compare(image: np.ndarray, target: np.ndarray, skeletons: bool = False) -> dict[str, float]:
    """{"mse", "psnr", "ssim"} of two images, and of skeletons {"dice", "dice_thresholded"} too: of what is lighter than
    half of white, so that spreading greys around gains nothing."""
    values = {"psnr": psnr(image, target), "ssim": ssim(image, target), "mse": mse(image, target)}
    if skeletons:
        values["dice"] = dice(image, target)
        values["dice_thresholded"] = dice(255 * (image > 127), 255 * (target > 127))
    return values


def baselines(sample: dict[str, np.ndarray], mean_skeleton: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """What could be given for each output without a network.

    Args:
        sample: the seven images, uint8 [h, w, 3 or 1], of one size.
        mean_skeleton: of all samples that are measured, uint8 [h, w, 1].
    Returns:
        {"o_f": {"source": the source crop unchanged, "erased": the background without any word, "inpainted"},
        "o_b": {"inpainted", "source"}, "o_t": {"grey": a blank, "standard": i_t}, "o_sk": {"standard": i_t's own
        skeleton, "mean": the mean skeleton}}. "erased" and "inpainted" are told the answer or where the word is.
    """
    i_t, i_s, t_b = sample["i_t"], sample["i_s"], sample["t_b"]
    filled = inpainted(i_s, t_b)
    return {
        "o_f": {"source": i_s, "erased": t_b, "inpainted": filled},
        "o_b": {"inpainted": filled, "source": i_s},
        "o_t": {"grey": np.full_like(i_t, GREY), "standard": i_t},
        "o_sk": {"standard": skeleton(i_t), "mean": mean_skeleton},
    }


def inpainted(i_s: np.ndarray, t_b: np.ndarray) -> np.ndarray:
    """The source with its word filled in from around it, by biharmonic functions; 10 to 100 ms for 64 x 128.

    The source's mask is not among the seven images (mask_t is the target's), so where its word is is taken from the
    answer: what differs between source and background, and a margin. Inpainting is told more than the network is.
    """
    difference = np.abs(i_s.astype(int) - t_b).max(-1)
    mask = binary_dilation(difference >= DIFFERENT, iterations=MARGIN)
    if mask.all() or not mask.any():
        return i_s
    filled = inpaint_biharmonic(i_s, mask, channel_axis=-1) * 255
    return np.where(mask[..., None], np.clip(np.round(filled), 0, 255), i_s).astype(np.uint8)


def skeleton(i_t: np.ndarray) -> np.ndarray:
    """The skeleton of a standard image's word: uint8 [h, w, 1], white on black, its lines three pixels wide as
    datagen.py makes them."""
    lines = binary_dilation(skeletonize(i_t.max(-1) < INK), np.ones((3, 3), bool))
    return lines[..., None].astype(np.uint8) * 255
