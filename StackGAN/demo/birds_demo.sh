#!/bin/bash
# Images of sentences on birds by the model in models/birds: birds_demo.sh [demo.py's flags]
#   demo/birds_demo.sh --caption "a small red bird with a white belly"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
[ $# -gt 0 ] || set -- --caption "this small bird has a red body and black wings" --caption "a yellow bird with a white belly"
exec "${PYTHON:-python}" "$here/demo.py" --cfg "$here/cfg/birds-demo.yml" "$@"
