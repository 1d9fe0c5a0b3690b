#!/bin/sh
# From a clean clone to pictures: installs packages, builds, renders jobs/examples/stickers.yaml.
# A second run only renders what is missing. Options are passed on to `litho run`.
set -eu
cd "$(dirname "$0")/.."

sh deploy/packages.sh build
[ -f build/release/build.ninja ] || cmake --preset release -DBUILD_TESTING=OFF >/dev/null
cmake --build --preset release

out=out
build/release/bin/litho run jobs/examples/stickers.yaml --out "$out" "$@"

echo
echo "The pictures are in $PWD/$out/stickers; $PWD/$out/stickers/sheet.png shows them all."
echo "Next: edit jobs/examples/stickers.yaml, or read jobs/SPEC.md, and run"
echo "    build/release/bin/litho run jobs/examples/stickers.yaml"
