#!/usr/bin/env bash
# The one test command. It installs what is missing, then runs everything. A missing prerequisite is a failure that
# names the command which would mend it, never a skip.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

command -v cargo >/dev/null || {
  echo "cargo is missing: install Rust 1.95 or newer, https://rustup.rs" >&2
  exit 1
}

command -v node >/dev/null || {
  echo "node is missing: apt-get install nodejs" >&2
  exit 1
}

# Every server stream is an open file, and the tests open thousands.
ulimit -n "$(ulimit -Hn)"

# Package by package: a workspace build unifies features, and a crate that lacks one of its own would not be noticed.
packages=$(cargo metadata --no-deps --format-version 1 --locked \
  | grep -o '"name":"sse-[a-z-]*","version"' | cut -d'"' -f4 | sort -u)

for package in $packages; do
  say "cargo test -p $package"
  cargo test --quiet --locked -p "$package" --all-features
done

# What takes a minute is waiting: all servers at once.
say "the cases that take a minute"
waiting=()
for manifest in [0-9]*_*/Cargo.toml; do
  cargo test --quiet --locked --all-features --manifest-path "$manifest" -- --ignored &
  waiting+=("$!")
done
for test in "${waiting[@]}"; do
  wait "$test"
done

say "node --test client/node/"
# From inside: Node 22 takes a folder among the arguments for a file.
(cd client/node && timeout 120 node --test)

say "cargo bench -- --test (each benchmark once, as a test)"
cargo bench --quiet --locked -p sse-bench -- --test

say "all passed"
