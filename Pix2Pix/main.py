"""The original's entry: `main.py --phase=train|test`, with every flag of train.py."""

import sys

from train import main

if __name__ == "__main__":
    sys.exit(main())
