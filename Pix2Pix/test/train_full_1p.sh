#!/bin/bash
# The original's full schedule, then the metrics on the held-out pairs.
# shellcheck source=/dev/null
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1

launch "Trains Pix2Pix for 200 epochs, then measures it on the held-out pairs." \
    "sample_data.py --output_path DIR" --train_epochs=200 --evaluate=True -- "$@"
