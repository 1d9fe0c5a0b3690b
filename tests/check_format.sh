#!/bin/sh
# Every C, C++ and CUDA file is as clang-format 14 writes it.
cd "$(dirname "$0")/.." || exit 1
formatter=$(command -v clang-format-14 || command -v clang-format) || {
    echo "clang-format is not installed"
    exit 77
}
find coordinator engine jobs monitoring proto tests worker -regex '.*\.\(c\|h\|cu\|cuh\|cpp\)' -print0 |
    xargs -0 "$formatter" --dry-run --Werror
