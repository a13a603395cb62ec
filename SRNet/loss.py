"""The original's name of losses.py."""

from losses import *  # noqa: F401, F403
