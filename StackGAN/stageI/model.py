"""The networks of stage I of "StackGAN: Text to Photo-realistic Image Synthesis" (Zhang et al., 2017), section 3.3.

Images are float [batch, 64, 64, 3] in -1..1.
"""

from blocks import (
    START,
    Discriminator,
    UpConv,
    as_image,
    bottleneck,
    condition,
    dense,
    halvings,
    leaky,
    norm,
    normal,
    relu,
)
from tensorflow import keras
from tensorflow.keras import layers

SIZE = 64  # of the images


def build_generator(
    embedding_dim: int = 1024,
    condition_dim: int = 128,
    z_dim: int = 100,
    gf_dim: int = 128,
    network_type: str = "default",
    cond_augmentation: bool = True,
) -> keras.Model:
    """G_0 of equation 4.

    Args:
        embedding_dim: size of a sentence's embedding.
        condition_dim: size of the condition c.
        gf_dim: the channels are multiples of it.
        network_type: "default", or "simple": four transposed convolutions.
    Returns:
        A model of [embedding [batch, embedding_dim], eps [batch, condition_dim] from a truncated normal, z [batch,
        z_dim] from a normal] that gives float32 [image [batch, 64, 64, 3], mean, log sigma [batch, condition_dim]].
    """
    embedding, eps, z = inputs = [
        layers.Input((size,), name=name)
        for name, size in (("embedding", embedding_dim), ("eps", condition_dim), ("z", z_dim))
    ]
    c, mean, log_sigma = condition(embedding, eps, condition_dim, cond_augmentation)
    x = layers.Concatenate()([c, z])
    x = norm(dense(x, START * START * 8 * gf_dim, "start"), "start")
    x = layers.Reshape((START, START, 8 * gf_dim))(x)  # 4 x 4
    if network_type == "simple":
        x = relu(x)
        for number, channels in enumerate((4 * gf_dim, 2 * gf_dim, gf_dim, 3), 1):
            layer = layers.Conv2DTranspose(
                channels, 4, 2, "same", use_bias=False, kernel_initializer=normal(), name=f"up_{number}"
            )
            x = layer(x) if channels == 3 else relu(norm(layer(x), f"up_{number}"))
    else:
        x = bottleneck(x, 2 * gf_dim, 8 * gf_dim, "residual_1", relu)
        x = norm(UpConv(4 * gf_dim, name="up_1")(x), "up_1")  # 8 x 8
        x = bottleneck(x, gf_dim, 4 * gf_dim, "residual_2", relu)
        x = relu(norm(UpConv(2 * gf_dim, name="up_2")(x), "up_2"))  # 16 x 16
        x = relu(norm(UpConv(gf_dim, name="up_3")(x), "up_3"))  # 32 x 32
        x = UpConv(3, name="up_4")(x)  # 64 x 64
    return keras.Model(inputs, [as_image(x), mean, log_sigma], name="generator")


def build_discriminator(
    embedding_dim: int = 1024,
    condition_dim: int = 128,
    df_dim: int = 64,
    network_type: str = "default",
    unconditional: bool = False,
) -> Discriminator:
    """D_0 of equation 3, of images [batch, 64, 64, 3] and embeddings [batch, embedding_dim]."""
    images = layers.Input((SIZE, SIZE, 3), name="images")
    x = halvings(images, (1, 2, 4, 8), df_dim)  # 32, 16, 8, 4
    x = leaky(x) if network_type == "simple" else bottleneck(x, 2 * df_dim, 8 * df_dim, "residual", leaky)
    image = keras.Model(images, x, name="discriminator_image")
    return Discriminator(image, embedding_dim, condition_dim, unconditional)
