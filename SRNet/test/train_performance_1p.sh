#!/bin/bash
# The original's short schedule, for the speed; no evaluation.
# shellcheck source=/dev/null
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1

launch "Trains SRNet for 500 iterations to measure its speed." \
    "sample_data.py --output_path DIR" --train_steps=500 --evaluate=False -- "$@"
