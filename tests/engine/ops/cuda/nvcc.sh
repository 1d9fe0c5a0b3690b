#!/bin/sh
# The CUDA backend for real cards builds and loads: nvcc.sh FOLDER. Needs the toolkit, no card.
set -eu
PATH=$PATH:/usr/local/cuda/bin
if ! command -v nvcc >/dev/null; then
    echo "SKIPPED: no CUDA toolkit (nvcc)"
    exit 77
fi
cmake -S "$LITHO_SOURCE" -B "$1" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLITHO_CUDA=ON -DBUILD_TESTING=OFF >"$1.log" 2>&1 ||
    { cat "$1.log"; exit 1; }
cmake --build "$1" --target litho-cuda litho-worker
# Without a card it says so; with one it plans.
said=$("$1/bin/litho-worker" --plan --device cuda:0 --models "$LITHO_SOURCE/models" --model sticker-128 2>&1) || true
echo "$said"
case $said in
*"this machine has no CUDA device: cudaGetDeviceCount"* | *"MiB at its peak"*) ;;
*) exit 1 ;;
esac
