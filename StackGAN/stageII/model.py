"""The networks of stage II of "StackGAN: Text to Photo-realistic Image Synthesis" (Zhang et al., 2017), section 3.4.

Pictures are float in -1..1: stage I's [batch, 64, 64, 3] in, [batch, 256, 256, 3] out. The building blocks and the
weights' start are stage I's.
"""

import _path  # noqa: F401  (finds ../common)
from stageI import model as stage1
from stageI.model import (
    UpConv,
    condition,
    conv,
    conv_norm,
    leaky,
    norm,
    normalised_as_before,
    over_picture,
    picture,
    relu,
    residual,
    told_by_text,
)
from tensorflow import keras
from tensorflow.keras import layers

SIDE = 256  # of the pictures
ENCODED = stage1.SIDE // 4  # of stage I's picture, encoded
RESIDUAL_BLOCKS = 4
DISCRIMINATOR = (1, 2, 4, 8, 16, 32)  # channels / df_dim, each half as large as the one before


def residual_block(x, name: str):
    channels = x.shape[-1]
    y = relu(conv_norm(x, channels, f"{name}a"))
    return relu(layers.Add()([x, conv_norm(y, channels, f"{name}b")]))


def build_generator(
    embedding_dim: int = 1024, condition_dim: int = 128, gf_dim: int = 128, cond_augmentation: bool = True
) -> keras.Model:
    """G of equation 6.

    Args:
        embedding_dim: numbers of a sentence's embedding.
        condition_dim: numbers of the condition c, stage II's own.
        gf_dim: the channels are multiples of it.
    Returns:
        A model of [stage I's picture [batch, 64, 64, 3], embedding [batch, embedding_dim], eps [batch, condition_dim]
        from a truncated normal] that gives float32 [picture [batch, 256, 256, 3], mean, log sigma [batch,
        condition_dim]].
    """
    small = layers.Input((stage1.SIDE, stage1.SIDE, 3), name="small")
    embedding, eps = layers.Input((embedding_dim,), name="embedding"), layers.Input((condition_dim,), name="eps")
    x = relu(conv(small, gf_dim, "encoder_1"))  # 64 x 64
    x = relu(conv_norm(x, 2 * gf_dim, "encoder_2", kernel=4, stride=2))  # 32 x 32
    x = relu(conv_norm(x, 4 * gf_dim, "encoder_3", kernel=4, stride=2))  # 16 x 16

    c, mean, log_sigma = condition(embedding, eps, condition_dim, cond_augmentation)
    x = layers.Concatenate()([x, over_picture(c, ENCODED)])
    x = relu(conv_norm(x, 4 * gf_dim, "joined"))
    for number in range(1, RESIDUAL_BLOCKS + 1):
        x = residual_block(x, f"residual_{number}")

    for number, channels in enumerate((2 * gf_dim, gf_dim, gf_dim // 2, gf_dim // 4), 1):
        x = relu(norm(UpConv(channels, name=f"up_{number}")(x), f"up_{number}"))  # 32, 64, 128, 256 a side
    x = picture(conv(x, 3, "last"), "picture")
    return keras.Model([small, embedding, eps], [x, mean, log_sigma], name="generator")


def build_discriminator(embedding_dim: int = 1024, condition_dim: int = 128, df_dim: int = 64) -> keras.Model:
    """D of equation 5: whether a picture is real and what the text says; `normalised_as_before`.

    Returns:
        A model of [picture [batch, 256, 256, 3], embedding [batch, embedding_dim]] that gives float32 logits
        [batch, 1].
    """
    x = shown = layers.Input((SIDE, SIDE, 3), name="picture")
    embedding = layers.Input((embedding_dim,), name="embedding")
    for number, multiple in enumerate(DISCRIMINATOR, 1):
        x = conv(x, multiple * df_dim, f"down_{number}", kernel=4, stride=2)  # 128, 64, 32, 16, 8, 4 a side
        x = leaky(norm(x, f"down_{number}") if number > 1 else x)
    x = leaky(conv_norm(x, 16 * df_dim, "narrow_1", kernel=1))
    x = conv_norm(x, 8 * df_dim, "narrow_2", kernel=1)
    x = residual(x, 2 * df_dim, 8 * df_dim, "residual", leaky)
    logits = told_by_text(x, embedding, condition_dim, df_dim)
    return normalised_as_before(keras.Model([shown, embedding], logits, name="discriminator"))
