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

# Every server stream is an open file, and the tests open thousands.
ulimit -n "$(ulimit -Hn)"

if ! command -v chromium >/dev/null; then
  say "installing Chromium (the page is tested in a real browser)"
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
  else
    echo "chromium is missing: apt-get install chromium" >&2
    exit 1
  fi
fi

# Package by package: a workspace build unifies features, and a crate that lacks one of its own would not be noticed.
packages=$(cargo metadata --no-deps --format-version 1 --locked \
  | grep -o '"name":"sse-[a-z-]*","version"' | cut -d'"' -f4 | sort -u)

for package in $packages; do
  say "cargo test -p $package"
  cargo test --quiet --locked -p "$package"
done

say "cargo bench -- --test (each benchmark once, as a test)"
cargo bench --quiet --locked -p sse-bench -- --test

say "all passed"
