#!/bin/sh
# Unpacks the headers of Debian's libpythonVERSION-dev, without installing it: fetch_python_headers.sh VERSION OUT
# A bare Debian has python3 but no Python.h, and python3-dev wants root.
set -eu
version=$1
out=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial"
apt() {
  apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o Debug::NoLocking=1 -o APT::Sandbox::User= \
    -o Acquire::Languages=none -o APT::Update::Post-Invoke= -o APT::Update::Post-Invoke-Success= "$@"
}
apt update >&2
(cd "$work" && apt download "libpython$version-dev" >&2)
for package in "$work"/*.deb; do
  dpkg-deb --extract "$package" "$work/root"
done
mv "$work/root/usr/include" "$out"
