#!/bin/bash
# The original's full schedule, then PSNR and SSIM on the held-out images.
# shellcheck source=/dev/null
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1

launch "Trains SRGAN for 500 epochs, then measures PSNR and SSIM on the held-out images." \
    "sample_data.py --output_path DIR" --train_epochs=500 --evaluate=True -- "$@"
