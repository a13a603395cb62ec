"""The networks of stage II of "StackGAN: Text to Photo-realistic Image Synthesis" (Zhang et al., 2017), section 3.4.

Images are float in -1..1: stage I's [batch, 64, 64, 3] in, [batch, 256, 256, 3] out.
"""

import argparse
from typing import Optional

from blocks import Discriminator, as_image, bottleneck, condition, conv, conv_norm, halvings, leaky, relu, tile, up
from stageI import model as stage1
from tensorflow import keras
from tensorflow.keras import layers

SIZE = 256  # of the images
ENCODED = stage1.SIZE // 4  # of stage I's image, encoded
RESIDUAL_BLOCKS = 4


def residual_block(x, name: str):
    channels = x.shape[-1]
    y = relu(conv_norm(x, channels, f"{name}a"))
    return relu(layers.Add()([x, conv_norm(y, channels, f"{name}b")]))


def build_generator(embedding_size: int, o: argparse.Namespace) -> keras.Model:
    """G of equation 6.

    Args:
        embedding_size: of a sentence's embedding.
        o: embedding_dim, the size of the condition c, stage II's own; gf_dim, of which the channels are multiples;
            cond_augmentation; skips: the decoder gets the encoder's features of its size, and what it makes is added to
            stage I's image, enlarged, which may leave -1..1. The paper has neither: it draws the whole bird anew.
    Returns:
        A model of [stage I's image [batch, 64, 64, 3], embedding [batch, embedding_size], eps [batch, embedding_dim]
        from a truncated normal] that gives float32 [image [batch, 256, 256, 3], mean, log sigma [batch,
        embedding_dim]].
    """
    gf_dim = o.gf_dim
    small = layers.Input((stage1.SIZE, stage1.SIZE, 3), name="small")
    embedding, eps = layers.Input((embedding_size,), name="embedding"), layers.Input((o.embedding_dim,), name="eps")
    full = relu(conv(small, gf_dim, "encoder_1"))  # 64 x 64
    half = relu(conv_norm(full, 2 * gf_dim, "encoder_2", kernel=4, stride=2))  # 32 x 32
    x = relu(conv_norm(half, 4 * gf_dim, "encoder_3", kernel=4, stride=2))  # 16 x 16

    c, mean, log_sigma = condition(embedding, eps, o.embedding_dim, o.cond_augmentation)
    x = layers.Concatenate()([x, tile(c, ENCODED)])
    x = relu(conv_norm(x, 4 * gf_dim, "joined"))
    for number in range(1, RESIDUAL_BLOCKS + 1):
        x = residual_block(x, f"residual_{number}")

    connections = (half, full, None, None) if o.skips else (None,) * 4
    for number, (channels, skip) in enumerate(zip((2 * gf_dim, gf_dim, gf_dim // 2, gf_dim // 4), connections), 1):
        x = relu(up(x, channels, f"up_{number}"))  # 32, 64, 128, 256
        x = x if skip is None else layers.Concatenate()([x, skip])
    image = as_image(conv(x, 3, "last"))
    if o.skips:
        enlarged = layers.UpSampling2D(SIZE // stage1.SIZE, interpolation="bilinear", dtype="float32")(small)
        image = layers.Add(dtype="float32")([enlarged, image])
    return keras.Model([small, embedding, eps], [image, mean, log_sigma], name="generator")


def build_discriminator(
    embedding_size: int, o: argparse.Namespace, vgg19: Optional[keras.Model] = None
) -> Discriminator:
    """D of equation 5, of images [batch, 256, 256, 3] and embeddings [batch, embedding_size].

    Args:
        vgg19: as stage I's discriminator takes it; it is to see pieces [batch, 64, 64, 3] of the images.
    """
    df_dim = o.df_dim
    images = layers.Input((SIZE, SIZE, 3), name="images")
    x = leaky(halvings(images, (1, 2, 4, 8, 16, 32), df_dim))  # 128, 64, 32, 16, 8, 4
    x = leaky(conv_norm(x, 16 * df_dim, "narrow_1", kernel=1))
    x = conv_norm(x, 8 * df_dim, "narrow_2", kernel=1)
    x = bottleneck(x, 2 * df_dim, 8 * df_dim, "residual", leaky)
    return Discriminator(stage1.with_vgg19(images, x, df_dim, vgg19), embedding_size, o, vgg19)
