# shellcheck shell=bash
# Fetches Debian packages without root and without touching the machine's own: sourced by the scripts that want some.
#
# The packages come from the mirror that the machine's own apt uses, checked by Debian's signatures, whatever suite the
# machine itself runs. The caller sets
#
#   WORK           a folder for apt's lists
#   PACKAGES       the folder that keeps the packages, so that nothing is fetched twice
#   SUITE          the suite, such as sid
#   ARCHITECTURES  the architectures, the machine's first
#   NOT_NEEDED     names of packages that count as installed (may be empty)
#   OTHERWISE      what to do where there is no apt
#
# and the user may set EDGE_LLM_DEBIAN_MIRROR to another mirror than those of the machine's apt.

readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly APT_HELPER=/usr/lib/apt/apt-helper

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
  say "$@"
  exit 1
}

our_apt() { APT_CONFIG="$WORK/apt.conf" "$@"; }

# Readies apt for the other functions: its settings and the package lists.
prepare_apt() {
  [[ -x "$(command -v apt-get)" && -x "$APT_HELPER" ]] || die "this machine has no apt: $OTHERWISE"
  [[ -r "$KEYRING" ]] ||
    die "$KEYRING is missing, and nothing unsigned is used: install debian-archive-keyring, or $OTHERWISE"
  rm -rf "$WORK"
  mkdir -p "$WORK"/{archives,lists}/partial "$PACKAGES"
  write_apt_conf
  write_apt_status
  update_lists
}

# The machine's way to the network (proxies, certificates); everything else apart from it. Mirrors that a company keeps
# for itself are often older than Debian's lists say that they are valid: what is old is still signed, so it will do.
write_apt_conf() {
  {
    apt-config dump | grep '^Acquire::' | grep -Ev '^Acquire::(Allow|ForceHash|IndexTargets|Languages)'
    cat <<CONF
Acquire::Check-Valid-Until "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "${ARCHITECTURES[0]}";
APT::Architectures { $(printf '"%s"; ' "${ARCHITECTURES[@]}") };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
Dir::Cache "$WORK";
Dir::Cache::archives "$WORK/archives";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "$WORK/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$WORK";
Dir::State::lists "$WORK/lists";
Dir::State::status "$WORK/status";
CONF
  } >"$WORK/apt.conf"
}

write_apt_status() {
  local package
  for package in "${NOT_NEEDED[@]}"; do
    printf '%s\n' "Package: $package" "Status: install ok installed" "Version: 999:1" \
      "Architecture: ${ARCHITECTURES[0]}" "Multi-Arch: foreign" "Maintainer: nobody" "Description: not needed" ""
  done >"$WORK/status"
}

# The folders of all archives that the machine's apt knows; works before any update and for both formats of its sources.
machine_mirrors() {
  apt-get update --print-uris | sed -n "s#^'\([^']*\)/dists/.*#\1#p" | awk '!seen[$0]++'
}

# Reads the package lists from the first mirror that has them, signed by Debian.
update_lists() {
  local mirrors mirror
  mirrors="${EDGE_LLM_DEBIAN_MIRROR:-$(machine_mirrors)}"
  for mirror in $mirrors; do
    printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$mirror" "$SUITE" >"$WORK/sources.list"
    say "reading the package lists of Debian $SUITE from $mirror"
    our_apt apt-get -qq update >"$WORK/update.log" 2>&1 || true
    # apt's exit code does not tell; lists that are missing, unsigned or wrongly signed are not kept.
    if compgen -G "$WORK/lists/*_Packages*" >/dev/null; then
      return
    fi
    say "no: $(grep -m1 '^[EW]:' "$WORK/update.log")"
  done
  die "no mirror has Debian $SUITE (tried: ${mirrors//$'\n'/ }); set EDGE_LLM_DEBIAN_MIRROR, or $OTHERWISE"
}

# fetch_packages SUMS COMMAND...: brings what `apt-get COMMAND...` would download into PACKAGES, unless it is there, and
# writes its list with sha256 sums to SUMS.
fetch_packages() {
  local sums="$1" uri name size hash missing=() bytes=0 count
  shift
  : >"$sums.new"
  while read -r uri name size hash; do
    hash="${hash#SHA256:}"
    printf '%s  %s\n' "$hash" "$name" >>"$sums.new"
    if ! sha256sum --status --check <<<"$hash  $PACKAGES/$name" 2>/dev/null; then
      rm -f "$PACKAGES/$name"
      missing+=("${uri//\'/}" "$PACKAGES/$name" "SHA256:$hash")
      bytes=$((bytes + size))
    fi
  done < <(our_apt apt-get -y --print-uris "$@" | grep "^'")
  [[ -s "$sums.new" ]] || die "apt-get $* finds nothing to download in Debian $SUITE"
  count=$((${#missing[@]} / 3))
  say "downloading $count packages, $((bytes / 1000000)) MB"
  if ((count > 0)); then
    our_apt "$APT_HELPER" download-file "${missing[@]}" |
      awk -v count="$count" -F/ '/^Get:/ { printf "  %d of %d: %s\n", ++n, count, $NF; fflush() }' >&2
  fi
  packages_are_here "$sums.new" || die "what was downloaded into $PACKAGES is not what Debian signed; run again"
  mv "$sums.new" "$sums"
}

# packages_are_here SUMS: whether every package of that list is there and undamaged.
packages_are_here() {
  local sums
  sums="$(readlink -f "$1")"
  [[ -s "$sums" ]] && (cd "$PACKAGES" && sha256sum --status --check "$sums" 2>/dev/null)
}

# unpack_package PACKAGE FOLDER PATH...: unpacks these paths of one file of PACKAGES.
unpack_package() {
  mkdir -p "$2"
  dpkg-deb --fsys-tarfile "$PACKAGES/$1" | tar -x -C "$2" --keep-directory-symlink --no-same-owner \
    --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale "${@:3}"
}
