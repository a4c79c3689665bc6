#!/usr/bin/env bash
# Installs Bazel from Debian's packages into a private folder: no root, and nothing of the machine is changed.
#
#   install_bazel.sh FOLDER MAJOR    prints the path of a Bazel MAJOR.x, installed below FOLDER unless it is there
#
# Debian carries Bazel 7 in its rolling suite, sid. The packages come from the mirror that the machine's own apt uses,
# checked by Debian's signatures. They bring their own C library and Java: the machine's release does not matter.
# They stay in FOLDER/packages: a second installation needs no network, and an interrupted download goes on.
#
#   EDGE_LLM_DEBIAN_MIRROR   the Debian mirror to use (default: those of the machine's apt)
set -euo pipefail
shopt -s inherit_errexit

HERE="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
readonly HERE
readonly FOLDER="$1" MAJOR="$2"
readonly PREFIX="$FOLDER/$MAJOR" PACKAGES="$FOLDER/packages" APT="$FOLDER/apt"
readonly SUMS="$PACKAGES/SHA256SUMS"
readonly LIBRARIES="$PREFIX/usr/lib/x86_64-linux-gnu"
readonly LOADER="$LIBRARIES/ld-linux-x86-64.so.2"
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly OLDEST_JAVA=21

say() { printf 'install_bazel: %s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

check_machine() {
  command -v apt-get >/dev/null ||
    die "no Bazel $MAJOR.x on PATH and no apt-get to install one: put bazelisk on PATH"
  [[ -r "$KEYRING" ]] ||
    die "$KEYRING is missing, and nothing unsigned is used: install the package debian-archive-keyring, or bazelisk"
}

# An apt of our own: the machine's way to the network (proxies, certificates), everything else apart from it.
# Mirrors that a company keeps for itself are often older than Debian's lists say that they are valid. An old Bazel that
# Debian signed is good enough, so their age is not checked.
configure_apt() {
  rm -rf "$APT"
  mkdir -p "$APT/lists/partial" "$PACKAGES/partial"
  {
    apt-config dump | grep '^Acquire::' | grep -Ev '^Acquire::(Allow|ForceHash|IndexTargets|Languages)'
    cat <<CONF
Acquire::Check-Valid-Until "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
Dir::Cache "$APT";
Dir::Cache::archives "$PACKAGES";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "$APT/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$APT";
Dir::State::lists "$APT/lists";
Dir::State::status "$APT/status";
CONF
  } >"$APT/apt.conf"
  grep -v '^#' "$HERE/not_needed.txt" | while read -r package; do
    printf '%s\n' "Package: $package" "Status: install ok installed" "Version: 999:1" "Architecture: amd64" \
      "Multi-Arch: foreign" "Maintainer: nobody" "Description: not needed" ""
  done >"$APT/status"
}

our_apt() { APT_CONFIG="$APT/apt.conf" "$@"; }

# The folders of all archives that the machine's apt knows; works before any update and for both formats of its sources.
machine_mirrors() {
  apt-get update --print-uris | sed -n "s#^'\([^']*\)/dists/.*#\1#p" | awk '!seen[$0]++'
}

# Reads sid's package lists from the first mirror that has them, signed by Debian.
update_lists() {
  local mirrors mirror
  mirrors="${EDGE_LLM_DEBIAN_MIRROR:-$(machine_mirrors)}"
  for mirror in $mirrors; do
    printf 'deb [signed-by=%s] %s sid main\n' "$KEYRING" "$mirror" >"$APT/sources.list"
    say "reading the package lists of sid from $mirror"
    our_apt apt-get -qq update >"$APT/update.log" 2>&1 || true
    # apt's exit code does not tell; lists that are missing, unsigned or wrongly signed are not kept.
    if compgen -G "$APT/lists/*_Packages*" >/dev/null; then
      return
    fi
    say "no: $(grep -m1 '^[EW]:' "$APT/update.log")"
  done
  die "no Debian mirror with sid (tried: ${mirrors//$'\n'/ }); set EDGE_LLM_DEBIAN_MIRROR, or put bazelisk on PATH"
}

# Prints the newest MAJOR.x that sid offers, as apt writes versions.
newest_bazel() {
  local offered
  offered="$(our_apt apt-cache madison bazel-bootstrap | awk '{print $3}')"
  grep "^$MAJOR\." <<<"$offered" | sort -V | tail -1 | grep . ||
    die "sid offers no bazel-bootstrap $MAJOR.x (found: ${offered//$'\n'/ }); put bazelisk on PATH instead"
}

# Prints the oldest Java runtime that is new enough: the nearest to what Bazel was tested with.
java_package() {
  our_apt apt-cache pkgnames openjdk- | sed -n 's/^openjdk-\([0-9]*\)-jre-headless$/\1/p' | sort -n |
    awk -v oldest="$OLDEST_JAVA" '$1 >= oldest { print "openjdk-" $1 "-jre-headless"; exit }' | grep . ||
    die "sid offers no openjdk-N-jre-headless with N >= $OLDEST_JAVA; put bazelisk on PATH instead"
}

download_packages() {
  check_machine
  configure_apt
  update_lists
  local bazel java wanted uris total
  bazel="$(newest_bazel)"
  java="$(java_package)"
  # libblake3-0 is missing in the dependencies of the Debian package.
  wanted=("bazel-bootstrap=$bazel" "$java" libblake3-0 patchelf)
  # Without the folder of packages, so that the list is whole.
  uris="$(our_apt apt-get -y -o Dir::Cache::archives="$APT" --print-uris install "${wanted[@]}" | grep "^'")"
  awk '{ sub("SHA256:", "", $4); print $4 "  " $2 }' <<<"$uris" >"$SUMS.new"
  # apt looks at names and sizes only, and would keep a damaged package of an earlier run.
  (cd "$PACKAGES" && (sha256sum --check "$SUMS.new" || true) 2>/dev/null | sed -n 's/: FAILED$//p' | xargs -r rm) >&2
  total="$(awk '{ bytes += $3 } END { printf "%d packages, %.0f MB", NR, bytes / 1e6 }' <<<"$uris")"
  say "downloading Bazel $bazel: $total"
  our_apt apt-get -q -y --download-only install "${wanted[@]}" |
    awk -v total="$total" '/^Get:/ { printf "  %d of %s: %s %s %s\n", ++n, total, $5, $(NF - 1), $NF; fflush() }' >&2
  (cd "$PACKAGES" && sha256sum --quiet --check "$SUMS.new") >&2 ||
    die "a package in $PACKAGES is not what Debian signed; run again"
  mv "$SUMS.new" "$SUMS"
  rm -rf "$APT"
}

packages_are_here() {
  [[ -f "$SUMS" ]] && grep -q "  bazel-bootstrap_$MAJOR\." "$SUMS" &&
    (cd "$PACKAGES" && sha256sum --status --check "$SUMS" 2>/dev/null)
}

unpack() {
  say "unpacking into $PREFIX"
  mkdir -p "$PREFIX/usr/lib" "$PREFIX/usr/lib64"
  ln -s usr/lib usr/lib64 "$PREFIX"
  local package link
  while read -r _ package; do
    dpkg-deb --fsys-tarfile "$PACKAGES/$package" | tar -x -C "$PREFIX" --keep-directory-symlink --no-same-owner \
      --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale
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
  if ! packages_are_here; then
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
