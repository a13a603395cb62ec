#!/bin/bash
# The original's full schedule, then the accuracy on the held-out pictures.
# shellcheck source=/dev/null
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1

launch "Trains ImprovedGAN for 45000 steps, then measures its accuracy on the held-out pictures." \
    "sample_data.py --output_path DIR" --train_steps=45000 --evaluate=True -- "$@"
