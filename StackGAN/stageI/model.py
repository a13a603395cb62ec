"""The networks of stage I of "StackGAN: Text to Photo-realistic Image Synthesis" (Zhang et al., 2017), section 3.3.

Images are float [batch, 64, 64, 3] in -1..1.
"""

import argparse
from typing import Optional

from blocks import (
    START,
    Discriminator,
    UpConv,
    as_image,
    bottleneck,
    condition,
    conv_norm,
    dense,
    halvings,
    leaky,
    norm,
    relu,
    up,
)
from tensorflow import keras
from tensorflow.keras import layers

SIZE = 64  # of the images
VGG19_LAYERS = {"block2_conv2": 2, "block3_conv4": 4, "block4_conv1": 8}  # and the image's size in theirs
HALVINGS = ((2, 4, 8), (4, 8), (8,))  # of each, down to 4 x 4: the channels, in df_dim
PROJECTED = 64  # channels of a projection


def build_generator(embedding_size: int, o: argparse.Namespace) -> keras.Model:
    """G_0 of equation 4.

    Args:
        embedding_size: of a sentence's embedding.
        o: embedding_dim, the size of the condition c; z_dim; gf_dim, of which the channels are multiples; network_type,
            "default", or "simple", four transposed convolutions; cond_augmentation.
    Returns:
        A model of [embedding [batch, embedding_size], eps [batch, embedding_dim] from a truncated normal, z [batch,
        z_dim] from a normal] that gives float32 [image [batch, 64, 64, 3], mean, log sigma [batch, embedding_dim]].
    """
    gf_dim = o.gf_dim
    embedding, eps, z = inputs = [
        layers.Input((size,), name=name)
        for name, size in (("embedding", embedding_size), ("eps", o.embedding_dim), ("z", o.z_dim))
    ]
    c, mean, log_sigma = condition(embedding, eps, o.embedding_dim, o.cond_augmentation)
    x = layers.Concatenate()([c, z])
    x = norm(dense(x, START * START * 8 * gf_dim, "start"), "start")
    x = layers.Reshape((START, START, 8 * gf_dim))(x)  # 4 x 4
    if o.network_type == "simple":
        x = relu(x)
        for number, channels in enumerate((4 * gf_dim, 2 * gf_dim, gf_dim, 3), 1):
            start = keras.initializers.RandomNormal(0.0, 0.02)
            x = layers.Conv2DTranspose(
                channels, 4, 2, "same", use_bias=False, kernel_initializer=start, name=f"up_{number}"
            )(x)
            x = x if channels == 3 else relu(norm(x, f"up_{number}"))
    else:
        x = bottleneck(x, 2 * gf_dim, 8 * gf_dim, "residual_1", relu)
        x = up(x, 4 * gf_dim, "up_1")  # 8 x 8
        x = bottleneck(x, gf_dim, 4 * gf_dim, "residual_2", relu)
        x = relu(up(x, 2 * gf_dim, "up_2"))  # 16 x 16
        x = relu(up(x, gf_dim, "up_3"))  # 32 x 32
        x = UpConv(3, name="up_4")(x)  # 64 x 64
    return keras.Model(inputs, [as_image(x), mean, log_sigma], name="generator")


def build_discriminator(
    embedding_size: int, o: argparse.Namespace, vgg19: Optional[keras.Model] = None
) -> Discriminator:
    """D_0 of equation 3, of images [batch, 64, 64, 3] and embeddings [batch, embedding_size].

    Args:
        vgg19: gives the outputs of VGG19_LAYERS, which it is then to look at too.
    """
    images = layers.Input((SIZE, SIZE, 3), name="images")
    x = halvings(images, (1, 2, 4, 8), o.df_dim)  # 32, 16, 8, 4
    x = leaky(x) if o.network_type == "simple" else bottleneck(x, 2 * o.df_dim, 8 * o.df_dim, "residual", leaky)
    image = with_vgg19(images, x, o.df_dim, vgg19)
    return Discriminator(image, embedding_size, o, vgg19)


def with_vgg19(images, x, df_dim: int, vgg19: Optional[keras.Model]) -> keras.Model:
    """The discriminators of what `Discriminator.look` gives: the one that makes x of images, and those of VGG19's
    features of images [batch, 64, 64, 3], if VGG19 is there."""
    inputs = [images]
    if vgg19 is not None:
        features = [
            layers.Input((SIZE // times, SIZE // times, output.shape[-1]), name=name, dtype=output.dtype)
            for (name, times), output in zip(VGG19_LAYERS.items(), vgg19.outputs)
        ]
        inputs, x = [images, *features], layers.Concatenate()([x, *projected(features, df_dim)])
    return keras.Model(inputs, x, name="discriminator_image")


def projected(features: list, df_dim: int) -> list:
    """Three discriminators of VGG19's features, up to their own features [batch, 4, 4, 8 df_dim]: those of VGG19 are
    mixed by random convolutions, which stay as they are, across channels and from the coarser scales to the finer ones,
    so that nothing of them can be left out of account (Projected GAN: Sauer et al., 2021, section 3.2)."""

    def random(x, kernel: int, name: str):
        layer = layers.Conv2D(
            PROJECTED, kernel, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
        )
        layer.trainable = False
        return layer(x)

    found, coarser = [], None
    for number, x in reversed(list(enumerate(features))):
        name = f"vgg19_{number}"
        x = random(norm(x, name), 1, f"{name}_channels")
        if coarser is not None:
            x = random(layers.Add()([x, layers.UpSampling2D(2)(coarser)]), 3, f"{name}_scales")
        coarser = x
        for multiple in HALVINGS[number]:
            x = leaky(conv_norm(x, multiple * df_dim, f"{name}_down_{multiple}", kernel=4, stride=2))
        found.append(x)
    return found[::-1]
