#!/bin/sh
# The C++ compiler of every platform: zig with its library and cache folders set, as zig.bzl has it for links. It is a
# source, and no output of a platform's own, so that platforms that compile the same share what it makes (.bazelrc).
set -eu

# Actions run in the execution root, so the SDK is named relative to it.
sdk=external/pypi_ziglang/ziglang
# As short-lived as the action: a folder that outlived it would be an input that Bazel does not know.
cache="$(mktemp -d)"
trap 'rm -rf "$cache"' EXIT
export ZIG_LIB_DIR="$sdk/lib" ZIG_GLOBAL_CACHE_DIR="$cache" ZIG_LOCAL_CACHE_DIR="$cache"

"$sdk/zig" c++ "$@"

# Bazel wants every header of the .d file declared, but zig's own come as one directory: take them out of it.
depfile=
previous=
for argument in "$@"; do
  if [ "$previous" = -MF ]; then depfile="$argument"; fi
  previous="$argument"
done
if [ -n "$depfile" ]; then sed -i -E 's#[^ ]*/ziglang/lib/[^ ]*##g' "$depfile"; fi
