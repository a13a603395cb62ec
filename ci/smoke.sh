#!/bin/bash
# Trains and evaluates every model, or those named, on its sample data for a minute or less, and ends with one table.
# <Model>/test/smoke.flags holds flags for that size, one a line. Everything is written under build/smoke/.
cd "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 1
trap 'exit 130' INT
if [[ -z $PYTHON ]]; then
    make --silent .venv/.ready || exit 1
    PYTHON=$PWD/.venv/bin/python
fi
export PYTHON

models=("$@")
if [[ $# -eq 0 ]]; then
    for train in */train.py; do models+=("${train%/train.py}"); done
fi

ended=()
for model in "${models[@]}"; do
    echo "==== $model ===="
    work=build/smoke/$model begun=$SECONDS flags=()
    [[ -f $model/test/smoke.flags ]] && mapfile -t flags < <(grep '^--' "$model/test/smoke.flags")
    rm -rf "$work" && mkdir -p "$work" &&
        "$PYTHON" "$model/sample_data.py" --output_path "$work/data" &&
        bash "$model/test/train_performance_1p.sh" \
            --data_path="$work/data" --output_path="$work/output" "${flags[@]}" --evaluate=True
    ended+=("$model=$?=$((SECONDS - begun))")
done
"$PYTHON" ci/smoke_table.py "${ended[@]}"
