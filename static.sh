#!/usr/bin/env bash
# Builds sse-bench and sse as static programs, for machines and containers without Rust and without libraries.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'END_OF_HELP'
usage: ./static.sh [--libc musl|glibc] [--out FOLDER]

Builds sse-bench and sse as the lock file says, in release, and copies them to FOLDER (target/static).

  --libc musl    needs nothing at run time (the default)
  --libc glibc   without musl-gcc; glibc 2.34 or newer has /etc/hosts and DNS within it, but any other
                 source of names (LDAP, mDNS) needs the libraries of the same glibc at run time
END_OF_HELP
}

libc=musl out=target/static
while (($#)); do
  case $1 in
    --libc) libc=${2:?--libc needs musl or glibc}; shift ;;
    --out) out=${2:?--out needs a folder}; shift ;;
    --help | -h) usage; exit ;;
    *) echo "no such option: $1; ./static.sh --help lists them" >&2; exit 2 ;;
  esac
  shift
done

command -v cargo >/dev/null || {
  echo "cargo is missing: install Rust 1.95 or newer, https://rustup.rs" >&2
  exit 1
}

case $libc in
  musl)
    target=$(uname -m)-unknown-linux-musl
    if [[ ! -d $(rustc --print target-libdir --target "$target") ]]; then
      rustup target add "$target" || {
        echo "Rust's standard library for $target is missing: rustup target add $target" >&2
        exit 1
      }
    fi
    # ring, the cryptography below TLS, has parts in C.
    command -v musl-gcc >/dev/null || {
      echo "musl-gcc is missing: apt-get install musl-tools" >&2
      exit 1
    }
    export "CC_${target//-/_}=musl-gcc"
    ;;
  glibc)
    target=$(uname -m)-unknown-linux-gnu
    # For this target only: procedural macros, which the compiler loads, cannot be static.
    flags=${target//-/_}
    export "CARGO_TARGET_${flags^^}_RUSTFLAGS=-C target-feature=+crt-static"
    ;;
  *) echo "--libc $libc: musl or glibc" >&2; exit 2 ;;
esac

# Package by package, as in ./test.sh: a workspace build unifies features.
cargo build --release --locked --target "$target" -p sse-bench
cargo build --release --locked --target "$target" -p sse-client --bin sse

mkdir -p "$out"
for program in sse-bench sse; do
  # A copy beside and a rename: the old one may be running.
  cp "${CARGO_TARGET_DIR:-target}/$target/release/$program" "$out/$program.new"
  mv "$out/$program.new" "$out/$program"
done

ls -l "$out/sse-bench" "$out/sse"
