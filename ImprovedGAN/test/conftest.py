"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import os
import sys
from pathlib import Path

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors of TensorFlow only
