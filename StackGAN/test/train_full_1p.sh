#!/bin/bash
# The original's full schedule: stage I to epoch 600, then stage II to epoch 1200; then its metrics on the test captions.
# shellcheck source=/dev/null
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1

launch "Trains stage I for 600 epochs, then stage II for 600 more (with --ckpt_path, a trained stage I: stage II alone)." \
    "sample_data.py --output_path DIR" --train_epochs=600 --evaluate=True -- "$@"
