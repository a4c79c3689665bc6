#!/bin/sh
# Says whether this release works on this machine: the last line is the verdict, the exit code 0 or 1.
#
# Checks processor, C library, TensorRT, driver and SM, and runs every kernel of the GPU against NumPy: by
# `edge-llm-plugins verify` where the wheel of this version is installed (PYTHON names another Python than python3),
# else by a C++ program that has NumPy's results with it. Arguments go to the one that runs.
set -eu

here="$(dirname "$(readlink -f "$0")")"

# A fact of the manifest: text, or the SMs with commas between.
fact() { sed -n "s/^  \"$1\": \"\(.*\)\",*\$/\1/p" "$here/manifest.json"; }
sms() { sed -n '/^  "sms": \[/,/\]/s/^ *"\([0-9]*\)",*$/\1/p' "$here/manifest.json" | paste -sd , -; }

tell() { printf '%-10s %s\n' "$1" "$2"; }

fail() {
  [ $# -eq 0 ] || echo "verify.sh: $*" >&2
  echo "VERDICT: this release does NOT work on this machine"
  exit 1
}

check_processor() {
  processor="$(uname -m)"
  tell processor "$processor"
  [ "$processor" = "$(fact cpu)" ] || fail "this release is for $(fact cpu), and the processor is $processor"
}

check_glibc() {
  needed="$(fact glibc)"
  found="$(getconf GNU_LIBC_VERSION 2>/dev/null)" || fail "no glibc; $needed or newer is needed"
  found="${found#glibc }"
  tell glibc "$found ($needed or newer is needed)"
  oldest="$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)"
  [ "$oldest" = "$needed" ] || fail "glibc $found is too old; $needed or newer is needed"
}

program() {
  "$here/bin/edge_llm_plugins_verify" --library="$here/lib/libedge_llm_plugins.so" \
    --golden="$here/share/verify.golden" --cuda="$(fact cuda)" --sms="$(sms)" "$@"
}

# The version of the wheel that is installed, or nothing.
wheel_version() { "$python" -c "import edge_llm_plugins; print(edge_llm_plugins.__version__)" 2>/dev/null || true; }

echo "edge_llm_plugins $(fact version) for $(fact platform)"
check_processor
check_glibc
python="${PYTHON:-python3}"
if [ "$(wheel_version)" = "$(fact version)" ]; then
  tell wheel "installed for $python, whose edge-llm-plugins verify runs"
  program --machine || fail
  [ $# -gt 0 ] || set -- --device=cuda
  "$python" -m edge_llm_plugins verify "$@" || fail
else
  tell wheel "not installed for $python; bin/edge_llm_plugins_verify runs"
  program "$@" || fail
fi
echo "VERDICT: this release works on this machine"
