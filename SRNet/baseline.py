"""The answers that need no learning, for each of the network's four pictures (no TensorFlow needed)."""

import _path  # noqa: F401  (finds ../common)
import numpy as np
from scipy.ndimage import binary_dilation
from skimage.morphology import skeletonize
from skimage.restoration import inpaint_biharmonic

GREY = 127  # around the words of i_t and t_t
INK = 64  # levels: what is darker in i_t is the word
# Of the values tried these made inpainting strongest: blending changes the background a little far around a word.
DIFFERENT = 32  # levels: what i_s and t_b differ by, in any channel, where there is text
MARGIN = 1  # pixels that are painted over around that, for faint edges


def answers(sample: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """What could be given for each output without a network; the first of each is the one to beat.

    Args:
        sample: the seven pictures, uint8 [h, w, 3 or 1], of one size.
    Returns:
        {"o_f": {"source": the source crop unchanged}, "o_b": {"inpainted", "source"}, "o_t": {"grey": a blank,
        "standard": i_t}, "o_sk": {"standard": i_t's own skeleton}}.
    """
    i_t, i_s = sample["i_t"], sample["i_s"]
    return {
        "o_f": {"source": i_s},
        "o_b": {"inpainted": inpainted(i_s, text_mask(i_s, sample["t_b"])), "source": i_s},
        "o_t": {"grey": np.full_like(i_t, GREY), "standard": i_t},
        "o_sk": {"standard": skeleton(i_t)},
    }


def text_mask(i_s: np.ndarray, t_b: np.ndarray) -> np.ndarray:
    """Where the source word is, bool [h, w].

    The source's mask is not among the seven pictures (mask_t is the target's), so it is taken from the answer: what
    differs between the source and the background, and a margin. Inpainting is told more than the network is.
    """
    difference = np.abs(i_s.astype(int) - t_b).max(-1)
    return binary_dilation(difference >= DIFFERENT, iterations=MARGIN)


def inpainted(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A uint8 picture [h, w, 3] with what the mask covers filled in from around it, by biharmonic functions.

    10 to 100 ms for 64 x 128. Where the mask covers nothing or everything the picture comes back as it is.
    """
    if mask.all() or not mask.any():
        return picture
    filled = inpaint_biharmonic(picture, mask, channel_axis=-1) * 255
    return np.where(mask[..., None], np.clip(np.round(filled), 0, 255), picture).astype(np.uint8)


def skeleton(i_t: np.ndarray) -> np.ndarray:
    """The skeleton of a standard picture's word: uint8 [h, w, 1], white on black, its lines three pixels wide as
    datagen.py draws them."""
    lines = binary_dilation(skeletonize(i_t.max(-1) < INK), np.ones((3, 3), bool))
    return lines[..., None].astype(np.uint8) * 255
