"""A double of Huawei's TensorFlow 2.6 adapter, for tests without an Ascend device: put its parent folder on sys.path.

Names, signatures, defaults, order of calls and refusals are the adapter's, of what this repository uses. Where the
adapter stays silent and does something else than asked (an option set after `open`, a wrong type for a free option, two
kinds of dump, a folder that does not exist) the double refuses. It computes on the CPU. `double` is for the tests.
"""

import tensorflow as tf

if not tf.__version__.startswith("2.6."):
    raise ImportError(f"the adapter is for TensorFlow 2.6, this is {tf.__version__}")

from npu_device import distribute, double, gen_npu_ops  # noqa: E402
from npu_device.device import is_inf_nan_enabled, npu_compat_function, open  # noqa: E402
from npu_device.options import global_options  # noqa: E402

__all__ = ["distribute", "double", "gen_npu_ops", "global_options", "is_inf_nan_enabled", "npu_compat_function", "open"]
