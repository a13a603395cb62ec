"""The original's entry: `main.py --phase=train|test`, with every flag of train.py."""

from train import cli, main

if __name__ == "__main__":
    cli.leave(main())
