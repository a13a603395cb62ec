#!/bin/bash
# Images of sentences on flowers by the model in models/flowers: flowers_demo.sh [demo.py's flags]
#   demo/flowers_demo.sh --caption "a flower with round pink petals"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
[ $# -gt 0 ] || set -- --caption "this flower has white petals and a yellow middle" --caption "a flower with pink petals"
exec "${PYTHON:-python}" "$here/demo.py" --cfg "$here/cfg/flowers-demo.yml" "$@"
