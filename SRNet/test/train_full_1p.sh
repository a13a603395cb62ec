#!/bin/bash
# The original's full schedule, then PSNR and SSIM on the held-out samples.
# shellcheck source=/dev/null
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1

launch "Trains SRNet for 20000 iterations, then measures PSNR and SSIM on the held-out samples." \
    "sample_data.py --output_path DIR" --train_steps=20000 --evaluate=True -- "$@"
