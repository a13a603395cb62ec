"""The objectives of "Improved Techniques for Training GANs" (arXiv 1606.03498), each a scalar of float32 logits."""

import tensorflow as tf

# The original's model: softmax over n classes and "fake" (section 5).


def real_or_class(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of real images against their class; where the label is -1, against "not fake".

    Args:
        logits: [batch, n + 1], the last one "fake".
        labels: int32 [batch], -1 for unlabelled.
    """
    log_p = tf.nn.log_softmax(logits)
    n_classes = logits.shape[-1] - 1
    labelled = tf.reduce_sum(tf.one_hot(labels, n_classes) * log_p[:, :-1], -1)  # 0 for unlabelled
    log_not_fake = tf.reduce_logsumexp(log_p[:, :-1], -1)
    return -tf.reduce_mean(tf.where(labels >= 0, labelled, log_not_fake))


def fake_smoothed(logits: tf.Tensor, smoothing: float = 0.1) -> tf.Tensor:
    """Cross-entropy of generated images against (smoothing / n for each class, 1 - smoothing for "fake")."""
    n_classes = logits.shape[-1] - 1
    target = tf.constant([smoothing / n_classes] * n_classes + [1 - smoothing])
    return -tf.reduce_mean(tf.reduce_sum(target * tf.nn.log_softmax(logits), -1))


def log_p_fake(logits: tf.Tensor) -> tf.Tensor:
    """mean log P(fake), which the generator minimises."""
    return tf.reduce_mean(tf.nn.log_softmax(logits)[:, -1])


def not_fake(logits: tf.Tensor) -> tf.Tensor:
    """-mean log(1 - P(fake)), the non-saturating form: its gradient stays where the discriminator is sure of "fake"."""
    log_p = tf.nn.log_softmax(logits)
    return -tf.reduce_mean(tf.reduce_logsumexp(log_p[:, :-1], -1))


def huber(target: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Mean Huber loss with its corner at 1."""
    error = tf.abs(target - value)
    return tf.reduce_mean(tf.where(error < 1, 0.5 * error**2, error - 0.5))


def supervised(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The original's "Supervised loss": mean Huber of one-hot label and class probabilities (logged only)."""
    probabilities = tf.nn.softmax(logits)[:, :-1]
    return huber(tf.one_hot(labels, logits.shape[-1] - 1), probabilities)


# The paper's model: n class logits, the logit of "fake" fixed at 0 (section 5, equations before 5.1).


def labelled(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-E[log p(y | x, y < K + 1)] = mean(Z - logit of the label), Z the log-sum-exp of the logits."""
    return tf.reduce_mean(tf.reduce_logsumexp(logits, -1) - tf.gather(logits, labels, axis=1, batch_dims=1))


def unlabelled(real_logits: tf.Tensor, fake_logits: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """-0.5 E[log D(real)] - 0.5 E[log(1 - D(fake))] with D = sigmoid(Z).

    `label_smoothing` lowers the target of the real images alone to 1 - label_smoothing (section 3.4).
    """
    z_real, z_fake = tf.reduce_logsumexp(real_logits, -1), tf.reduce_logsumexp(fake_logits, -1)
    real = tf.reduce_mean(tf.nn.softplus(z_real) - (1 - label_smoothing) * z_real)
    return 0.5 * real + 0.5 * tf.reduce_mean(tf.nn.softplus(z_fake))


def adversarial(fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(fake)], the generator's objective without feature matching."""
    return tf.reduce_mean(tf.nn.softplus(-tf.reduce_logsumexp(fake_logits, -1)))


def feature_matching(real_features: tf.Tensor, fake_features: tf.Tensor, squared: bool = True) -> tf.Tensor:
    """Distance of the mean features of real and generated images (section 3.1), mean over the features.

    `squared` as in the paper and its MNIST code; the published code for SVHN and CIFAR-10 takes absolute differences.
    """
    difference = tf.reduce_mean(real_features, 0) - tf.reduce_mean(fake_features, 0)
    return tf.reduce_mean(tf.square(difference) if squared else tf.abs(difference))


def historical_averaging(variables: dict[str, tf.Variable], averages: dict[str, tf.Variable]) -> tf.Tensor:
    """|theta - mean of the past thetas|^2 (section 3.3)."""
    return tf.add_n([tf.reduce_sum(tf.square(variables[name] - averages[name])) for name in averages])
