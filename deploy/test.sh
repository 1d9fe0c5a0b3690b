#!/bin/sh
# All tests from a clean clone: installs packages, builds with AddressSanitizer and UBSan, runs ctest.
# Options are passed on to ctest: deploy/test.sh -R engine
set -eu
cd "$(dirname "$0")/.."

sh deploy/packages.sh build test
[ -f build/dev/build.ninja ] || cmake --preset dev >/dev/null
cmake --build --preset dev
exec ctest --preset dev -j "$(nproc)" "$@"
