"""npu.train.optimizer: the adapter's own loss scaling, which doubles and halves."""

from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from npu_device import double


class NpuLossScaleOptimizer(tf.keras.mixed_precision.LossScaleOptimizer):
    """Exists and can be made; its rule is not the one of the originals, so training with it is refused."""

    def __init__(
        self, inner_optimizer: Any, dynamic: bool = True, initial_scale: Any = None, dynamic_growth_steps: Any = None
    ) -> None:
        double.record("NpuLossScaleOptimizer")
        super().__init__(inner_optimizer, dynamic, initial_scale, dynamic_growth_steps)

    def apply_gradients(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("the double leaves this to the loss scale under test")


optimizer = SimpleNamespace(NpuLossScaleOptimizer=NpuLossScaleOptimizer)
