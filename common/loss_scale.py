"""Loss scaling for float16, the rule of Huawei's managers for TensorFlow 1, around Adam by TensorFlow's fused kernel.

A small gradient underflows in float16. So the loss is multiplied by a scale before the gradients are taken and they are
divided by it after; where they overflow instead, the update is left out and the scale is lowered
(Micikevicius et al., 2018, section 3.2).
"""

from collections.abc import Sequence
from typing import Callable, Optional, Union

import tensorflow as tf

from common.cli import UserError

FLOAT32_MAX = 3.4e38
HOPELESS = 100  # steps skipped in a row: no scale helps any more
LearningRate = Union[float, Callable[[tf.Tensor], tf.Tensor]]


class FixedLossScale(tf.Module):
    """A scale that stays what it is. The default of 1 scales nothing and checks nothing.

    Raises:
        UserError: the scale is under 1.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(name="fixed_loss_scale")
        if scale < 1:
            raise UserError(f"a loss scale of {scale} is under 1; give 1 (none) or more")
        self.scale = scale
        self.state: dict[str, tf.Variable] = {}

    @property
    def checks_overflow(self) -> bool:
        return self.scale != 1

    def update(self, finite: tf.Tensor) -> None:
        """Nothing moves."""


class ExponentialUpdateLossScale(tf.Module):
    """A scale that grows after a run of good steps and shrinks after a few overflows.

    After `incr_every_n_steps` good steps the scale is multiplied by `incr_ratio` (kept where that would pass 3.4e38);
    after `decr_every_n_nan_or_inf` overflows by `decr_ratio` (never under 1). Either change clears both counters; an
    overflow clears the good steps, a good step leaves the count of overflows.

    Attributes:
        state: the variables, what a checkpoint holds of it: scale, good_steps, bad_steps; `skipped`, updates left out
            so far; `skipped_in_a_row`; `hopeless`, 1 once an overflow came at a scale of 1 or a hundred in a row.
    """

    checks_overflow = True

    def __init__(
        self,
        init_scale: float = 2.0**32,
        incr_every_n_steps: int = 1000,
        decr_every_n_nan_or_inf: int = 2,
        incr_ratio: float = 2.0,
        decr_ratio: float = 0.8,
    ) -> None:
        super().__init__(name="exponential_update_loss_scale")
        self.incr_every_n_steps, self.decr_every_n_nan_or_inf = incr_every_n_steps, decr_every_n_nan_or_inf
        self.incr_ratio, self.decr_ratio = incr_ratio, decr_ratio
        self.scale = tf.Variable(init_scale, dtype=tf.float32, trainable=False)
        counters = ("good_steps", "bad_steps", "skipped", "skipped_in_a_row", "hopeless")
        self.state = {"scale": self.scale, **{name: tf.Variable(0, trainable=False) for name in counters}}

    def update(self, finite: tf.Tensor) -> None:
        """Moves the scale and the counters after a step whose gradients were `finite` (bool scalar)."""
        state = self.state
        grow = finite & (state["good_steps"] + 1 >= self.incr_every_n_steps)
        shrink = ~finite & (state["bad_steps"] + 1 >= self.decr_every_n_nan_or_inf)
        room = self.scale <= FLOAT32_MAX / self.incr_ratio  # a product that overflows would set the NPU's register
        grown = self.scale * tf.where(room, self.incr_ratio, 1.0)
        shrunk = tf.maximum(1.0, self.scale * self.decr_ratio)
        bad = tf.cast(~finite, tf.int32)
        in_a_row = tf.where(finite, 0, state["skipped_in_a_row"] + 1)
        hopeless = ~finite & ((self.scale <= 1.0) | (in_a_row >= HOPELESS))
        after = {
            "scale": tf.where(grow, grown, tf.where(shrink, shrunk, self.scale)),
            "good_steps": tf.where(finite & ~grow, state["good_steps"] + 1, 0),
            "bad_steps": tf.where(grow | shrink, 0, state["bad_steps"] + bad),
            "skipped": state["skipped"] + bad,
            "skipped_in_a_row": in_a_row,
            "hopeless": tf.maximum(state["hopeless"], tf.cast(hopeless, tf.int32)),
        }
        for name, value in after.items():
            state[name].assign(value)


class Adam(tf.Module):
    """Adam (Kingma and Ba, 2015; the form at the end of its section 2, whose epsilon stands beside the uncorrected root
    of v), one fused kernel a variable.

    Keras 3 updates each variable by a dozen small ops; `ResourceApplyAdam` passes over memory once.

    Args:
        variables: the trainable variables by name.
        learning_rate: a number, or a function of the number of updates done (int64 scalar) that returns one.
    """

    def __init__(
        self,
        variables: dict[str, tf.Variable],
        learning_rate: LearningRate,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(name="adam")
        self.variables_by_name = dict(variables)
        self.learning_rate = learning_rate
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.iterations = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.m = {name: tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for name, v in variables.items()}
        self.v = {name: tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for name, v in variables.items()}

    @property
    def state(self) -> dict[str, object]:
        """What a checkpoint holds of it."""
        return {"iterations": self.iterations, "m": self.m, "v": self.v}

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One update by the gradients, which stand in the variables' order."""
        rate = self.learning_rate(self.iterations) if callable(self.learning_rate) else self.learning_rate
        update = tf.cast(self.iterations + 1, tf.float32)
        beta_1_power, beta_2_power = tf.pow(self.beta_1, update), tf.pow(self.beta_2, update)
        for (name, variable), gradient in zip(self.variables_by_name.items(), gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self.m[name].handle,
                v=self.v[name].handle,
                beta1_power=beta_1_power,
                beta2_power=beta_2_power,
                lr=tf.cast(rate, tf.float32),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )
        self.iterations.assign_add(1)


class Optimizer(tf.Module):
    """Adam under a loss scale. Made by `Session.optimizer`, which knows the device and the workers.

    Args:
        all_reduce_mean: takes the means of tensors over the workers.
        all_finite: says of gradients whether nothing overflowed (bool scalar).
        clip_norm: the gradients' largest global norm (Pascanu et al., 2013), or None.
        dump: given {"gradient_norm/<variable>": scalar} in every step, or None.
    """

    def __init__(
        self,
        adam: Adam,
        loss_scale: tf.Module,
        all_reduce_mean: Callable[[list], list],
        all_finite: Callable[[list], tf.Tensor],
        clip_norm: Optional[float] = None,
        dump: Optional[Callable[[dict], None]] = None,
    ) -> None:
        super().__init__(name="optimizer")
        self.adam, self.loss_scale, self.clip_norm, self.dump = adam, loss_scale, clip_norm, dump
        self.all_reduce_mean, self.all_finite = all_reduce_mean, all_finite

    @property
    def state(self) -> dict[str, object]:
        """What a checkpoint holds of it."""
        return {"adam": self.adam.state, "loss_scale": self.loss_scale.state}

    def minimize(self, loss: tf.Tensor, tape: tf.GradientTape) -> None:
        """One update of the optimizer's variables towards a smaller loss (scalar, float32, recorded on the tape)."""
        variables = self.adam.variables_by_name
        with tape:  # the multiplication has to be recorded too
            scaled = loss * self.loss_scale.scale if self.loss_scale.checks_overflow else loss
        gradients = tape.gradient(scaled, list(variables.values()))
        missing = [name for name, gradient in zip(variables, gradients) if gradient is None]
        if missing:
            raise ValueError(f"the loss does not depend on {', '.join(missing)}")
        gradients = self.all_reduce_mean(gradients)
        scale = self.loss_scale.scale + 0.0  # its value before the update below
        if self.dump is not None:
            self.dump({f"gradient_norm/{name}": tf.norm(g) / scale for name, g in zip(variables, gradients)})
        if not self.loss_scale.checks_overflow:
            self._apply(gradients)
            return
        finite = self.all_finite(gradients)
        tf.cond(finite, lambda: self._apply([gradient / scale for gradient in gradients]), lambda: None)
        self.loss_scale.update(finite)

    def _apply(self, gradients) -> None:
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        self.adam.apply(gradients)
