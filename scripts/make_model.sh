#!/usr/bin/env bash
# Makes a directory of `models/` out of a finished run: scripts/make_model.sh RUN DIR
set -euo pipefail
run=$1
dir=$2
unbraid=${UNBRAID:-target/release/unbraid}
int8=$dir/model.int8.safetensors

"$unbraid" export "$run" -o "$dir"
"$unbraid" label "$dir"
"$unbraid" quantize "$dir" -o "$int8" --report "$dir/quantization.json"
"$unbraid" evaluate "$dir" --metrics all -o "$dir/evaluation.json"
"$unbraid" evaluate "$int8" --metrics all -o "$dir/evaluation.int8.json"
# A heart, large and in the middle: index of shape 2, scale 5, rotation 0, x 15, y 15.
"$unbraid" traverse "$int8" --image 696815 -o "$dir/traversal.png"
"$unbraid" traverse "$int8" --image 696815 -o "$dir/traversal.gif"
"$unbraid" golden "$dir"
"$unbraid" card "$dir"
