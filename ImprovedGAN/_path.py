"""Puts the repository on the path, so that `common` is found from any working directory with nothing installed."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
if not (REPOSITORY / "common").is_dir():
    sys.exit(f"[Error] {REPOSITORY} has no folder common: copy the whole repository, not one model's folder alone")
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

import common  # noqa: E402, F401  (keeps TensorFlow quiet, so it comes before TensorFlow)
