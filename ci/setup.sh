#!/bin/bash
# Makes a virtual environment: setup.sh FOLDER PYTHON_VERSION REQUIREMENTS [optional]. FOLDER/.ready says that it is
# whole. With "optional", and not on CI, a missing Python is told and is no failure.
set -e
cd "$(dirname -- "${BASH_SOURCE[0]}")/.."
venv=$1 version=$2 requirements=$3 optional=$4

find_python() {
    local candidate
    while read -r candidate; do
        # A shim may be there and not run; a system's Python may lack what makes environments.
        "$candidate" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" \
            2>/dev/null && echo "$candidate" && return
    done < <(
        type -aP "python$version" python3
        find "${PYENV_ROOT:-$HOME/.pyenv}/versions" -path "*/$version.*/bin/python" 2>/dev/null | sort -rV
    )
    return 1
}

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if ! python=$(find_python); then
        if [[ $optional && $CI != true ]]; then
            echo "[Info] no Python $version with venv (on the path, in ~/.pyenv/versions): $venv is skipped"
            exit 0
        fi
        echo "[Error] $venv needs Python $version with venv, on the path or in ~/.pyenv/versions" >&2
        exit 1
    fi
    echo "[Info] making $venv with $python"
    "$python" -m venv --clear "$venv"
fi
echo "[Info] installing $requirements into $venv (the first time: a few minutes)"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --requirement "$requirements"
touch "$venv/.ready"
