#!/bin/bash
# The original's short schedule, two epochs of each stage, for the speed; no evaluation.
# shellcheck source=/dev/null
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1

launch "Trains stage I for 2 epochs, then stage II for 2 epochs, to measure their speed." \
    "sample_data.py --output_path DIR" --train_epochs=2 --evaluate=False -- "$@"
