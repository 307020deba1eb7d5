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

# install PACKAGE...: from Debian, as root or by sudo.
install() {
  say "apt-get install $*"
  local as_root=()
  [[ $EUID -eq 0 ]] || as_root=(sudo --non-interactive)
  as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  { "${as_root[@]}" update && "${as_root[@]}" install --yes --no-install-recommends "$@"; } || {
    echo "missing, and cannot be installed from here: apt-get install $*" >&2
    exit 1
  }
}

command -v node >/dev/null || install nodejs
command -v npm >/dev/null || install npm
node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' || {
  echo "node is older than 20: https://nodejs.org" >&2
  exit 1
}

# The page is tried in a real browser: $SSE_CHROMIUM, or one of these. Without a font it would draw no letter.
[[ -n ${SSE_CHROMIUM-}$(type -P chromium chromium-browser google-chrome-stable google-chrome || true) ]] ||
  install chromium fonts-dejavu-core

# The demo is tried in a real terminal.
command -v tmux >/dev/null || install tmux

# It counts the parser's instructions.
command -v valgrind >/dev/null || install valgrind

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

say "node --test client/web/browser/"
# What the lock file says, unless it is there already.
cmp -s client/web/browser/package-lock.json client/web/browser/node_modules/.from-lock || {
  (cd client/web/browser && npm ci --no-audit --no-fund --loglevel error)
  cp client/web/browser/package-lock.json client/web/browser/node_modules/.from-lock
}
(cd client/web/browser && timeout 300 node --test)

# Somebody else's clients need npm, PyPI and a browser, and are checked before a release: CONTRIBUTING.md.
for client in sse node-sse; do
  say "sse-bench conform client $client"
  cargo run --quiet --locked -p sse-bench -- conform client "$client" --strict
done

say "cargo bench -- --test (each benchmark once, as a test)"
cargo bench --quiet --locked -p sse-bench -- --test

say "all passed"
