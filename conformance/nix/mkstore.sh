#!/usr/bin/env bash
# Makes the real Nix store that the end-to-end tests use, on a Debian 12 machine, as root, offline but for apt.
#   mkstore.sh hello    the five-path hello closure of the nixpkgs manual, from Debian's binaries
#   mkstore.sh big      322 paths, 416 MB, and a conf.json image of them in 97 layers
#   mkstore.sh images   the conf.json images of ../golden: t* from the tiny cache of this repository; the others,
#                       which hold Debian's binaries, from the binary cache in $NIXREG_NIX_CACHE if that is set
#   mkstore.sh caches   binary caches of all that, as nix copy writes them: compressed by xz, by zstd and not at all, and
#                       of hello by gzip and bzip2; signed, with their key in key.pub, below
#                       /var/tmp/nixreg-store/caches or $NIXREG_WORK/caches
#   mkstore.sh all      all of these (the default); run it again at will
# Everything is kept by garbage-collector roots below /nix/var/nix/gcroots/nixreg-test.
set -euo pipefail
cd "$(dirname "$0")"
export NIX_REMOTE=local LC_ALL=C.UTF-8 TZ=UTC0
export NIX_CONFIG='build-users-group =
sandbox = false
substitute = false
substituters =
experimental-features = nix-command
max-jobs = 2'
roots=/nix/var/nix/gcroots/nixreg-test
work=${NIXREG_WORK:-/var/tmp/nixreg-store}
tiny=../../store/binarycache/testdata/tiny-cache
../apt-install.sh nix-bin patchelf jq xz-utils python3-minimal
mkdir -p "$work/debs" "$roots"

hello() {
  local p
  for p in hello libc6 libidn2-0 libunistring2 libgcc-s1; do
    compgen -G "$work/debs/${p}_*.deb" >/dev/null || download "$p"
    install -m644 "$work/debs/${p}"_*.deb "$work/$p.deb"
  done
  version() { dpkg-deb -f "$work/$1.deb" Version | sed 's/^[0-9]*://; s/[-+].*//'; }
  jq -n --arg hello "$(version hello)" --arg glibc "$(version libc6)" --arg libidn2 "$(version libidn2-0)" \
    --arg libunistring "$(version libunistring2)" --arg libgcc "$(version libgcc-s1)" '$ARGS.named' >"$work/versions.json"
  nix-build closure.nix --arg debs "$work" --arg versions "$work/versions.json" -A hello -o $roots/hello
}

download() { # apt's own sandbox user may not write here, and warns; the second try is after an update of the lists
  (cd "$work/debs" && apt-get download -qq "$1" 2>/dev/null) && return
  apt-get update -qq
  (cd "$work/debs" && apt-get download -qq "$1" 2>/dev/null)
}

big() {
  local a
  for a in all root odd odd2; do
    nix-build big.nix -A "$a" -o "$roots/big-$a" 2>"$work/big.log" || { tail "$work/big.log" >&2; return 1; }
  done
  xz -dc big-image.export.xz | nix-store --import
  ln -sfn "$(jq -r .conf_path ../golden/e-big.json)" "$roots/e-big"
}

images() {
  local g name absent=()
  for g in ../golden/*.json; do
    name=$(basename "$g" .json)
    case $name in
      environment | e-big) ;;
      t[0-9]-*) image "$name" "$tiny" ;;
      *) if [ -d "${NIXREG_NIX_CACHE:-}" ]; then image "$name" "$NIXREG_NIX_CACHE"; else absent+=("$name"); fi ;;
    esac
  done
  [ ${#absent[@]} -eq 0 ] ||
    echo "NOT CHECKED on this store, as NIXREG_NIX_CACHE names no binary cache with Debian's binaries: ${absent[*]}" >&2
}

image() { # a copy of the cache is read, because Nix adds directories to a cache it opens
  local copy conf p
  copy=$work/cache-$(basename "$2")
  [ -d "$copy" ] || { cp -r "$2" "$copy.new"; chmod -R u+w "$copy.new"; mv "$copy.new" "$copy"; }
  conf=$(jq -r .conf_path "../golden/$1.json")
  for p in "$conf" $(jq -r '.args.contents[]?' "../golden/$1.json"); do
    nix-store --check-validity "$p" 2>/dev/null && continue
    nix copy --from "file://$copy" --no-check-sigs "$p" 2>"$work/copy.log" ||
      [ "$p" != "$conf" ] || { tail "$work/copy.log" >&2; return 1; }
  done
  ln -sfn "$conf" "$roots/$1"
  echo "$conf"
}

caches() { # big is half noise: a higher level takes minutes and saves nothing
  local dir=$work/caches c
  mkdir -p "$dir"
  [ -s "$dir/key.pub" ] || nix-store --generate-binary-cache-key nixreg-e2e-1 "$dir/key.sec" "$dir/key.pub"
  for c in xz zstd none; do
    copy "$dir/$c?compression=$c" $(find $roots -type l ! -name 'big-*' ! -name e-big)
    copy "$dir/$c?compression=$c&compression-level=0&parallel-compression=true" $roots/e-big
  done
  for c in gzip bzip2; do copy "$dir/$c?compression=$c" $roots/hello; done
}

copy() {
  local to="file://$1&secret-key=$work/caches/key.sec"
  shift
  nix copy --to "$to" "$@" 2>"$work/copy.log" || { tail "$work/copy.log" >&2; return 1; }
}

case ${1:-all} in
  hello | big | images | caches) "$1" ;;
  all) hello; images; big; caches ;;
  *) echo "usage: mkstore.sh hello|big|images|caches|all" >&2; exit 2 ;;
esac
