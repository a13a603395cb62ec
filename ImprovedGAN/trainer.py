"""The job's boot file by its name on the model's page; the same job as modelarts_entry_acc.py."""

import sys

from modelarts_entry_acc import main

if __name__ == "__main__":
    sys.exit(main())
