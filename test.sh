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

# It counts the parser's instructions.
command -v valgrind >/dev/null || {
  say "apt-get install valgrind"
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  { $sudo apt-get update -qq && $sudo apt-get install -y -qq valgrind; } || {
    echo "valgrind is missing: apt-get install valgrind" >&2
    exit 1
  }
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

say "node --test client/node/"
# From inside: Node 22 takes a folder among the arguments for a file.
(cd client/node && timeout 120 node --test)

say "cargo bench -- --test (each benchmark once, as a test)"
cargo bench --quiet --locked -p sse-bench -- --test

say "all passed"
