#!/usr/bin/env bash
# Brings the Nix of another Debian suite, beside the machine's own, and prints the directory of its commands for PATH.
#
#   PATH=$(conformance/nix/suite.sh trixie):$PATH nix --version
#
# The packages are downloaded by apt, from the mirror that the machine has, and unpacked, not installed: the commands start them with
# the loader and the libraries of their suite. They stay in $NIXREG_WORK, where a second call finds them. Needs no root.
set -euo pipefail
suite=${1:?suite: trixie or sid}
work=${NIXREG_WORK:-/var/tmp/nixreg-store}/nix-$suite
commands=(nix nix-build nix-collect-garbage nix-daemon nix-instantiate nix-store)

mirror() {
  awk '/^URIs:/ { print $2; exit } /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null
}

apt() {
  apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$work/state" \
    -o Dir::State::Status="$work/status" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}

download() {
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
  : >"$work/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main" >"$work/sources.list"
  apt update
  apt install --yes --download-only --no-install-recommends nix-bin
}

unpack() {
  local deb
  rm -rf "$work/root.new"
  for deb in "$work"/cache/archives/*.deb; do dpkg-deb --extract "$deb" "$work/root.new"; done
  rm -rf "$work/cache" "$work/root"
  mv "$work/root.new" "$work/root"
}

# wrap makes the commands. Nix would start itself as a build hook, and finds the loader in its own place: there is no hook.
wrap() {
  local lib=$work/root/usr/lib/x86_64-linux-gnu command
  mkdir -p "$work/bin"
  for command in "${commands[@]}"; do
    cat >"$work/bin/$command" <<END
#!/bin/sh
export NIX_CONFIG="\$NIX_CONFIG
build-hook ="
exec $lib/ld-linux-x86-64.so.2 --argv0 $command --library-path $lib:$lib/nix $work/root/usr/bin/$command "\$@"
END
    chmod +x "$work/bin/$command"
  done
}

if [ ! -e "$work/bin/nix" ]; then
  { download && unpack && wrap; } >&2
fi
echo "$work/bin"
