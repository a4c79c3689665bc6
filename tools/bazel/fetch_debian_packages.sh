#!/usr/bin/env bash
# Unpacks files of Debian packages: run by the repository rule of debian_packages.bzl.
#
#   fetch_debian_packages.sh CACHE SUITE DESTINATION PACKAGE:ARCHITECTURE=PATH,PATH...
#
# Debian removes a version from its mirrors when it brings out the next, so that a pinned sum would fail some day
# everywhere: what counts is the suite and Debian's signature. The version that a machine fetched stays in CACHE.
set -euo pipefail
shopt -s inherit_errexit

HERE="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
readonly HERE
readonly CACHE="$1" SUITE="$2" DESTINATION="$3" WANTED=("${@:4}")
readonly NAMES=("${WANTED[@]%%=*}")

# What bootstrap/apt.sh wants to know.
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT
# shellcheck disable=SC2034  # apt.sh reads them
readonly WORK ARCHITECTURES=(amd64 arm64) NOT_NEEDED=()
# shellcheck disable=SC2034
readonly OTHERWISE="use a Debian machine, or leave out the tests that need ${NAMES[*]}"
readonly PACKAGES="$CACHE/debian-$SUITE"
# shellcheck source-path=SCRIPTDIR
source "$HERE/bootstrap/apt.sh"

main() {
  mkdir -p "$PACKAGES"
  exec 9>"$PACKAGES/lock"
  flock 9
  local item package architecture sums paths
  for item in "${WANTED[@]}"; do
    package="${item%%:*}"
    architecture="${item#*:}"
    architecture="${architecture%%=*}"
    sums="$PACKAGES/${package}_$architecture.sha256"
    if ! packages_are_here "$sums"; then
      [[ -f "$WORK/apt.conf" ]] || prepare_apt
      fetch_packages "$sums" download "$package:$architecture"
    fi
    IFS=, read -ra paths <<<"${item#*=}"
    # A library's name is often a link to the file with its whole version beside it.
    paths=("${paths[@]/#/./}")
    unpack_package "$(awk '{print $2}' "$sums")" "$DESTINATION" --wildcards "${paths[@]/%/*}"
  done
}

main
