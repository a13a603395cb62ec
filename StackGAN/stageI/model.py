"""The networks of stage I of "StackGAN: Text to Photo-realistic Image Synthesis" (Zhang et al., 2017), section 3.3.

Images are float [batch, 64, 64, 3] in -1..1.
"""

import argparse

from blocks import START, Discriminator, UpConv, as_image, bottleneck, condition, dense, halvings, leaky, norm, relu, up
from tensorflow import keras
from tensorflow.keras import layers

SIZE = 64  # of the images


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


def build_discriminator(embedding_size: int, o: argparse.Namespace) -> Discriminator:
    """D_0 of equation 3, of images [batch, 64, 64, 3] and embeddings [batch, embedding_size]."""
    images = layers.Input((SIZE, SIZE, 3), name="images")
    x = halvings(images, (1, 2, 4, 8), o.df_dim)  # 32, 16, 8, 4
    x = leaky(x) if o.network_type == "simple" else bottleneck(x, 2 * o.df_dim, 8 * o.df_dim, "residual", leaky)
    image = keras.Model(images, x, name="discriminator_image")
    return Discriminator(image, embedding_size, o)
