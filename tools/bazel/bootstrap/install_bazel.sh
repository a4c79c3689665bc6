#!/usr/bin/env bash
# Installs Bazel from Debian's packages into a private folder: no root, and nothing of the machine is changed.
#
#   install_bazel.sh FOLDER MAJOR    prints the path of a Bazel MAJOR.x, installed below FOLDER unless it is there
#
# Debian carries Bazel 7 in its rolling suite, sid. Its packages bring their own C library and Java, so that they run on
# any release. They stay in FOLDER/packages: a second installation needs no network, and an interrupted one goes on.
set -euo pipefail
shopt -s inherit_errexit

HERE="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
readonly HERE
readonly FOLDER="$1" MAJOR="$2"
readonly PREFIX="$FOLDER/$MAJOR"
readonly SUMS="$FOLDER/packages-$MAJOR.sha256"
readonly LIBRARIES="$PREFIX/usr/lib/x86_64-linux-gnu"
readonly LOADER="$LIBRARIES/ld-linux-x86-64.so.2"
readonly OLDEST_JAVA=21

# What apt.sh wants to know.
readonly WORK="$FOLDER/apt" PACKAGES="$FOLDER/packages" SUITE=sid ARCHITECTURES=(amd64)
readonly OTHERWISE="put bazelisk or Bazel $MAJOR on PATH"
mapfile -t NOT_NEEDED < <(grep -v '^#' "$HERE/not_needed.txt")
readonly NOT_NEEDED
# shellcheck source-path=SCRIPTDIR
source "$HERE/apt.sh"

# Prints the newest MAJOR.x that sid offers, as apt writes versions.
newest_bazel() {
  local offered
  offered="$(our_apt apt-cache madison bazel-bootstrap | awk '{print $3}')"
  grep "^$MAJOR\." <<<"$offered" | sort -V | tail -1 | grep . ||
    die "sid offers no bazel-bootstrap $MAJOR.x (found: ${offered//$'\n'/ }); $OTHERWISE"
}

# Prints the oldest Java runtime that is new enough: the nearest to what Bazel was tested with.
java_package() {
  our_apt apt-cache pkgnames openjdk- | sed -n 's/^openjdk-\([0-9]*\)-jre-headless$/\1/p' | sort -n |
    awk -v oldest="$OLDEST_JAVA" '$1 >= oldest { print "openjdk-" $1 "-jre-headless"; exit }' | grep . ||
    die "sid offers no openjdk-N-jre-headless with N >= $OLDEST_JAVA; $OTHERWISE"
}

download_packages() {
  prepare_apt
  local bazel java
  bazel="$(newest_bazel)"
  java="$(java_package)"
  say "Bazel $bazel with ${java%-jre-headless}"
  # libblake3-0 is missing in the dependencies of the Debian package.
  fetch_packages "$SUMS" install "bazel-bootstrap=$bazel" "$java" libblake3-0 patchelf
  rm -rf "$WORK"
}

unpack() {
  say "unpacking into $PREFIX"
  local package link
  # As in any Debian of today; a few packages still name /lib.
  mkdir -p "$PREFIX/usr/lib" "$PREFIX/usr/lib64"
  ln -s usr/lib usr/lib64 "$PREFIX"
  while read -r _ package; do
    unpack_package "$package" "$PREFIX" .
  done <"$SUMS"
  # Java keeps its settings in /etc, behind absolute links.
  while read -r link; do
    ln -sfn "$PREFIX$(readlink "$link")" "$link"
  done < <(find "$PREFIX" -type l -lname '/*')
}

# Makes the programs use the C library and Java beside them instead of the machine's.
relocate() {
  local java="$1" program classpath="$PREFIX/usr/share/bazel/bazel_classpath_debian_depends.txt"
  # jspawnhelper is how Java starts every other program.
  for program in "$PREFIX"/usr/{bin/bazel,libexec/x86_64-linux-gnu/bazel/*} "$java"/{bin/java,lib/jspawnhelper}; do
    [[ ! -L "$program" && "$(head -c4 "$program" | tail -c3)" == ELF ]] || continue
    "$LOADER" --library-path "$LIBRARIES" "$PREFIX/usr/bin/patchelf" --set-interpreter "$LOADER" \
      --force-rpath --set-rpath "$LIBRARIES:$java/lib:$java/lib/server" "$program"
  done
  sed -i "s#^/usr/share#$PREFIX/usr/share#" "$classpath"
  # gRPC wants these; without them the client waits 120 s for a server that has died.
  printf "$PREFIX/usr/share/java/%s.jar\n" perfmark-api perfmark-impl opencensus-api >>"$classpath"
}

# The launcher is written last: where it exists, the installation is complete.
write_launcher() {
  local java="$1"
  cat >"$PREFIX/bazelrc" <<RC
startup --install_base=$PREFIX/usr/share/bazel
startup --trust_install_base
startup --server_javabase=$java
RC
  cat >"$PREFIX/bazel.new" <<LAUNCHER
#!/bin/sh
exec "$PREFIX/usr/bin/bazel" --nosystem_rc --bazelrc="$PREFIX/bazelrc" "\$@"
LAUNCHER
  chmod +x "$PREFIX/bazel.new"
  "$PREFIX/bazel.new" --version >/dev/null || die "the installed Bazel does not start: $PREFIX/bazel.new --version"
  mv "$PREFIX/bazel.new" "$PREFIX/bazel"
}

install() {
  if ! packages_are_here "$SUMS"; then
    download_packages
  fi
  rm -rf "$PREFIX"
  unpack
  local java
  java="$(find "$PREFIX/usr/lib/jvm" -path '*/bin/java' -printf '%H/%P')" # without links: the one real folder
  java="${java%/bin/java}"
  relocate "$java"
  write_launcher "$java"
  say "installed $("$PREFIX/bazel" --version) in $PREFIX"
}

main() {
  mkdir -p "$FOLDER"
  if [[ ! -x "$PREFIX/bazel" ]]; then
    exec 9>"$FOLDER/lock"
    flock -n 9 || {
      say "another run is installing Bazel; waiting for it"
      flock 9
    }
    if [[ ! -x "$PREFIX/bazel" ]]; then
      install
    fi
  fi
  printf '%s\n' "$PREFIX/bazel"
}

main
