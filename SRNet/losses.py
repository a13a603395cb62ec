"""The objective of SRNet (Wu et al., 2019, section 3), each term a scalar in float32. Images are in -1..1."""

from collections.abc import Sequence

import tensorflow as tf

TINY = 1e-8
CHANGED = 0.12  # of -1..1: 15 levels of 255, above a camera's noise


def dice(target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Equation 1: 1 less the overlap of two skeletons [batch, h, w, 1] in 0..1; 0 where they are the same."""
    axes = [1, 2, 3]
    both = tf.reduce_sum(target * output, axes)
    return 1.0 - tf.reduce_mean(2.0 * both / (tf.reduce_sum(target, axes) + tf.reduce_sum(output, axes) + TINY))


def cross_entropy(target: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Of a skeleton's or a mask's pixels. Dice has no gradient where the sigmoid is saturated, right or wrong."""
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, logits))


def mask(target: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Of where a word is, [batch, h, w, 1] in 0..1: dice and cross-entropy, as of the skeleton. (Not in the paper.)

    L1 leaves a pixel half painted, or not at all, where a letter may or may not be; dice wants it one way or the other.
    """
    return dice(target, tf.sigmoid(tf.cast(logits, tf.float32))) + cross_entropy(target, logits)


def l1(target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """E|x - y|."""
    return tf.reduce_mean(tf.abs(target - output))


def masked_l1(target: tf.Tensor, output: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The L1 of equation 2, in which a word and the rest of the image weigh alike, however small the word.

    Args:
        target, output: images [batch, h, w, 3].
        mask: of the word, [batch, h, w, 1] in 0..1.
    """
    rest = 1.0 - tf.reduce_mean(mask)
    difference = tf.abs(target - output)
    return rest * tf.reduce_mean(difference * mask) + (1.0 - rest) * tf.reduce_mean(difference * (1.0 - mask))


def shifts(target: tf.Tensor, max_shift: Sequence[int]) -> tf.Tensor:
    """Images [batch, h, w, c] moved by up to `max_shift` (rows, columns) either way: [batch, h, w, shifts, c].

    What comes in from outside is 0: grey, or no word.
    """
    height, width, (rows, columns) = target.shape[1], target.shape[2], max_shift
    padded = tf.pad(target, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
    places = [(y, x) for y in range(2 * rows + 1) for x in range(2 * columns + 1)]
    return tf.stack([padded[:, y : y + height, x : x + width] for y, x in places], 3)


def at_best_shift(errors: tf.Tensor) -> tf.Tensor:
    """The mean over windows, half as high as the image and a quarter as wide as high, of the least of their errors.

    (Not in the paper.) Where the letters of a font stand cannot be known from another word: L1 and cross-entropy then
    ask for all their places at once, which is a blur. So each window, about a letter, is compared with the target at
    the shift that fits it best. Windows overlap by three quarters, so that neighbours cannot go ways of their own.

    Args:
        errors: of each pixel at each shift, [batch, h, w, shifts], h 16 or more.
    """
    height = errors.shape[1]
    block = height // 8, height // 16
    errors = tf.nn.avg_pool2d(errors, block, block, "SAME")
    window = 4, min(4, errors.shape[2])  # blocks
    return tf.reduce_mean(tf.reduce_min(tf.nn.avg_pool2d(errors, window, 1, "VALID"), -1))


def shifted_l1(target: tf.Tensor, output: tf.Tensor, max_shift: Sequence[int]) -> tf.Tensor:
    """`l1` of images [batch, h, w, c], each window at its best shift."""
    return at_best_shift(tf.reduce_mean(tf.abs(shifts(target, max_shift) - output[:, :, :, None]), -1))


def shifted_cross_entropy(target: tf.Tensor, logits: tf.Tensor, max_shift: Sequence[int]) -> tf.Tensor:
    """`cross_entropy` of [batch, h, w, 1], each window at its best shift."""
    logits = tf.cast(logits, tf.float32)
    return at_best_shift(tf.nn.softplus(logits) - shifts(target, max_shift)[..., 0] * logits)


def difference_mask(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Where two images [batch, h, w, 3] differ, [batch, h, w, 1]: 1 by more than `CHANGED` in a channel, else 0."""
    difference = tf.reduce_max(tf.abs(one - other), axis=-1, keepdims=True)
    return tf.cast(difference > CHANGED, tf.float32)


def discriminator(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(x) + log(1 - D(G))] over all patches (equations 3 and 4); 2 log 2 = 1.386 where D cannot tell."""
    return tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits))


def adversarial(fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(G)], which the generator minimises."""
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def perceptual(target: Sequence[tf.Tensor], output: Sequence[tf.Tensor]) -> tf.Tensor:
    """Equation 6: the sum over the layers of the mean difference of two images' features."""
    return tf.add_n([l1(tf.cast(x, tf.float32), tf.cast(y, tf.float32)) for x, y in zip(target, output)])


def gram(features: tf.Tensor) -> tf.Tensor:
    """How features [batch, h, w, c] go together: [batch, c, c], divided by h w c."""
    n, h, w, c = features.shape
    flat = tf.reshape(tf.cast(features, tf.float32), [n, h * w, c])
    return tf.matmul(flat, flat, transpose_a=True) / (h * w * c)


def style(target: Sequence[tf.Tensor], output: Sequence[tf.Tensor]) -> tf.Tensor:
    """Equation 7: the mean over the layers of the L1 of Gram matrices.

    The original divides each layer's once more by its number of features (10^5 to 10^7), which belongs to equation 6
    alone and leaves nothing of the term.
    """
    return tf.add_n([l1(gram(x), gram(y)) for x, y in zip(target, output)]) / len(target)
