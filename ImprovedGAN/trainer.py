"""The job's boot file by its name on the model's page; the same job as modelarts_entry_acc.py."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_name("modelarts_entry_acc.py")), run_name="__main__")
