#!/bin/bash
# The original's short schedule, for the speed; no evaluation.
# shellcheck source=/dev/null
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1

launch "Trains SRGAN for an epoch to measure its speed." \
    "sample_data.py --output_path DIR" --train_epochs=1 --evaluate=False -- "$@"
