"""The original's command for evaluate.py.

python ImprovedGAN/evaler.py --checkpoint train_dir --dataset MNIST
"""

from evaluate import main

from common import cli

if __name__ == "__main__":
    cli.leave(main())
