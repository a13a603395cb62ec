# shellcheck shell=bash
# The launcher contract, once. <Model>/test/train_{full,performance}_1p.sh source this file (the _8p.sh ones call those
# with --rank_size) and call
#
#     launch "what it does" "sample_data.py --output_path DIR" --default=flag ... -- "$@"
#
# The shell checks that there is data and becomes the model's train.py, which does the rest: it reads the flags, logs and
# writes the results. It runs in the foreground, so signals and the exit status are the training's own. With --rank_size
# it becomes launch_workers.py instead, which starts a train.py for each device.

_usage() {  # _usage SCRIPT "what it does" DEFAULT_OUTPUT_PATH
    cat <<END
Usage: bash $1 --data_path=DIR [flags] [-- flags of train.py]
$2

  --data_path=DIR           the model's data (layout: the model's README)
  --output_path=DIR         where results go (default: $3)
  --train_steps=N, --train_epochs=N, --batch_size=N
                            in place of the defaults
  --precision_mode=MODE     force_fp32, allow_fp32_to_fp16, allow_mix_precision, ...
  --over_dump               look for overflow, and say in which operation
  --data_dump_flag          write the tensors of a step ...
  --data_dump_step=N        ... every N steps
  --profiling               write a trace that TensorBoard opens
  --autotune                tune the NPU's operators
  --ckpt_path=DIR           start from this checkpoint
  --rank_size=N             on N devices, one process each (..._8p.sh: 8)
  --obs_url=URL             ImprovedGAN: where results are copied at the end
  -h, --help                this text

"--flag=value" and "--flag value" both work. "python3 train.py --help" in the model's folder lists every flag there is.
From the environment: ASCEND_DEVICE_ID (0), RANK_SIZE (1), PYTHON (python3). Several devices: common/README.md.
END
}

launch() {
    local script=${BASH_SOURCE[1]} what=$1 sample_data=$2 model word previous='' data_path='' schedule=default
    local rank_size='' defaults=() flags=() command=()
    model=$(CDPATH='' cd -- "$(dirname -- "$script")/.." && pwd) || exit 1
    export ASCEND_DEVICE_ID=${ASCEND_DEVICE_ID:-0} PYTHONUNBUFFERED=1
    export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}  # huge pages for tensors
    [[ -n ${CM_WORKER_SIZE:-} ]] || export RANK_SIZE=${RANK_SIZE:-1}  # an NPU's adapter refuses both
    local output_path=$model/test/output/$ASCEND_DEVICE_ID

    shift 2
    while [[ $# -gt 0 && $1 != -- ]]; do
        defaults+=("$1")
        shift
    done
    shift

    for word in "$@"; do
        case $word in
            -h | --help) _usage "$script" "$what" "$output_path" && exit 0 ;;
            --) continue ;;  # all flags are train.py's, so nothing changes here
            --rank_size=*) rank_size=${word#*=} ;;
            --data_path=*) data_path=${word#*=} ;;
            --train_steps | --train_steps=* | --train_epochs | --train_epochs=*) schedule=own ;;
        esac
        [[ $previous == --data_path ]] && data_path=$word
        [[ $previous == --rank_size ]] && rank_size=$word
        [[ $previous == --rank_size || $word == --rank_size || $word == --rank_size=* ]] || flags+=("$word")
        previous=$word
    done
    if [[ -z $data_path ]]; then
        echo '[Error] para "data_path" must be config' >&2
        printf '[Info] sample data: python3 %q/%s\n' "$model" "$sample_data" >&2
        exit 1
    fi

    # Of a flag given twice the last one counts: the user's. Steps and epochs are two names of one schedule: the user's
    # one replaces the default one, whichever name that has.
    command=("${PYTHON:-python3}" "$model/train.py" "--output_path=$output_path")
    for word in "${defaults[@]}"; do
        [[ $schedule == own && $word =~ ^--train_(steps|epochs)= ]] || command+=("$word")
    done
    # TF_CONFIG names this one process among workers that are started one by one.
    if [[ -n $rank_size && $rank_size != 1 && -z ${TF_CONFIG:-} ]]; then
        command=("${PYTHON:-python3}" "$(dirname -- "${BASH_SOURCE[0]}")/launch_workers.py" "$rank_size" "${command[@]}")
    fi
    exec "${command[@]}" "${flags[@]}"
}
