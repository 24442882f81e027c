#!/usr/bin/env bash
# OVTrack's command line for generating pairs: run_ovtrack_generation.sh GPUS NAME [options of `ovforge pairs generate`]
# Works from any folder, in a plain checkout and with the package installed. Results go to data/tao/ovtrack/NAME.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 GPUS NAME [options of 'ovforge pairs generate']" >&2
    exit 2
fi
gpus=$1
name=$2
shift 2

source_folder="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/src"
python=${PYTHON:-$(command -v python3 || command -v python)}
if ! "$python" -c "import ovforge" 2>/dev/null; then
    export PYTHONPATH="$source_folder${PYTHONPATH:+:$PYTHONPATH}"
fi

# The original repaints with Stable Diffusion, over the original image. Without its weights, say so rather than do
# something else silently.
engine=(--engine diffusion)
outside=(--outside original)
model=saved_models/stable-diffusion-v1-4
previous=""
for option in "$@"; do
    case $option in
        --engine=diffusion) engine=() ;;
        --engine=*) engine=() outside=() ;;
        --engine) engine=() ;;
        --outside | --outside=*) outside=() ;;
        --model | --model=*) model="" ;;
        *) if [ "$previous" = --engine ] && [ "$option" != diffusion ]; then outside=(); fi ;;
    esac
    previous=$option
done
if [ ${#engine[@]} -gt 0 ] && [ -n "$model" ] && [ ! -e "$model/model_index.json" ]; then
    echo "error: $model/model_index.json: not found; the original's engine needs the model" >&2
    echo "  put Stable Diffusion v1-4 in diffusers' layout there, or give its folder with --model," >&2
    echo "  or run without a model: $0 $gpus $name --engine fill" >&2
    exit 2
fi

exec "$python" -m ovforge.cli.main pairs generate "$name" \
    --partitions "$gpus" --workers "$gpus" ${engine[@]+"${engine[@]}"} ${outside[@]+"${outside[@]}"} "$@"
