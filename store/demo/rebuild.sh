#!/bin/sh
# Rebuilds ./cache, the store embedded by --demo, from ./src. Needs Go, clang and lld:
#     apt-get install clang lld
# The bytes depend on the compiler: those in ./cache were made by Debian 12's clang and lld 14. New bytes are new
# store paths and new image digests, so the golden digests of the demo change with them.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

greeting=$(go run ./generate -print-greeting)

# One read-only segment of everything: no padding between segments in the file, whatever the page size.
build() { # target output
	clang --target="$1" -std=c11 -Wall -Wextra -Werror -Os -DGREETING="\"$greeting\"" \
		-ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -fno-ident \
		-nostdlib -static -fuse-ld=lld -s -Wl,--build-id=none -Wl,--no-rosegment -Wl,-z,max-page-size=65536 \
		-Wl,-z,norelro -o "$2" src/hello.c
}
build x86_64-linux-gnu "$tmp/x86_64"
build aarch64-linux-gnu "$tmp/aarch64"

go run ./generate -hello x86_64-linux="$tmp/x86_64" -hello aarch64-linux="$tmp/aarch64" -out cache
