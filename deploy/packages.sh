#!/bin/sh
# Installs the Debian packages that a set of names stands for, if any is missing.
#
#   deploy/packages.sh build          what building and rendering needs
#   deploy/packages.sh build test     and what the tests need
set -eu

build="build-essential cmake ninja-build pkg-config libzmq3-dev libmsgpack-dev libyaml-dev zlib1g-dev libpng-dev
       libsqlite3-dev libjansson-dev libssl-dev libmicrohttpd-dev libpango1.0-dev
       libutf8proc-dev libjpeg-dev libwebp-dev fonts-dejavu-core"
test="libcmocka-dev clang-format-14 python3 python3-zmq python3-msgpack"

wanted=""
for set in "$@"; do
    case $set in
    build) wanted="$wanted $build" ;;
    test) wanted="$wanted $test" ;;
    *)
        echo "packages.sh: unknown set '$set'; there are: build, test" >&2
        exit 2
        ;;
    esac
done

missing=""
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "packages.sh: needs root to install:$missing" >&2
        exit 1
    }
    sudo=sudo
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086  # a list of words
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
