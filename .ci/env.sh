#!/usr/bin/env bash
# Make .venv, or bring it up to date.  usage: .ci/env.sh base|gguf|dev
# A stamp holds a checksum of what the environment is made from. It is written last, so an install that was cut off is done again.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
want=${1:?usage: .ci/env.sh base|gguf|dev}
python=${PYTHON:-python3}
min=$(sed -n 's/^min_python *= *//p' settings.ini)
key=$(cat settings.ini setup.py constraints.txt | cksum)

here() { grep -qsF "$PWD/.venv/bin/" .venv/bin/pip && .venv/bin/python -m pip --version >/dev/null 2>&1; }
if here && [[ "$(cat ".venv/.made-$want" 2>/dev/null)" == "$key" ]]; then exit 0; fi

if ! here; then
    "$python" -c "import sys; sys.exit(sys.version_info < (${min/./,}))" 2>/dev/null || {
        echo "sprec needs Python $min or newer, and '$python' is $("$python" --version 2>&1 || true). Name another one: make PYTHON=python3.12 ..." >&2
        exit 1; }
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
echo "Installing into .venv from constraints.txt (some minutes the first time)"
install=(.venv/bin/python -m pip install -c constraints.txt)
[[ -t 1 ]] || install+=(--quiet)
case $want in
    base) "${install[@]}" -e . ;;
    gguf) "${install[@]}" -e '.[gguf]'; echo "$key" > .venv/.made-base ;;
    dev)  "${install[@]}" -e '.[dev]'; echo "$key" | tee .venv/.made-base > .venv/.made-gguf ;;
    *)    echo "unknown environment '$want': base, gguf or dev" >&2; exit 2 ;;
esac
echo "$key" > ".venv/.made-$want"
