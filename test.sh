#!/usr/bin/env bash
# The one test command. It installs what is missing, builds everything, then runs everything, as many parts at a time as the
# cores allow. A missing prerequisite is a failure that names the command which fixes it, never a skip.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'END'
usage: ./test.sh [--times N] [--beside N] [PART…]

Without arguments everything runs once. The output of each part is in target/test/PART.log.

  PART         run the parts whose names contain one of these words only, for instance one_fault
  --times N    run them N times and count what failed, test by test
  --beside N   start N processes that do nothing but take a core: tests must not depend on how busy the machine is
  --list       print the parts and their commands
END
}

times=1 beside=0 list=false wanted=()
while (($#)); do
  case $1 in
    --times) times=${2:?--times needs a number}; shift ;;
    --beside) beside=${2:?--beside needs a number}; shift ;;
    --list) list=true ;;
    --help | -h) usage; exit ;;
    -*) echo "no such option: $1; ./test.sh --help lists them" >&2; exit 2 ;;
    *) wanted+=("$1") ;;
  esac
  shift
done
for number in "$times" "$beside"; do
  [[ $number =~ ^[0-9]{1,3}$ ]] || { echo "$number is no number from 0 to 999" >&2; exit 2; }
done
((times > 0)) || { echo "--times 0 would test nothing: give 1 to 999" >&2; exit 2; }

say() { printf '\n== %s\n' "$*"; }

command -v cargo >/dev/null || {
  echo "cargo is missing: install Rust 1.95 or newer, https://rustup.rs" >&2
  exit 1
}

# apt_get ARGUMENT...: as root or by sudo. Another installation may hold the lock for a while.
apt_get() {
  local as_root=()
  [[ $EUID -eq 0 ]] || as_root=(sudo --non-interactive)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"
}

# quietly COMMAND...: what it prints is shown only if it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || {
    printf '%s\n' "$output" >&2
    return 1
  }
}

# install PACKAGE...: from Debian.
install() {
  say "apt-get install $*"
  { quietly apt_get update && quietly apt_get install --yes --no-install-recommends "$@"; } || {
    echo "missing, and cannot be installed from here: apt-get install $*" >&2
    exit 1
  }
}

# unpack PACKAGE: into target/tools, for a package that would start a server of its own if it were installed.
unpack() {
  say "apt-get download $1"
  mkdir -p target/tools
  (cd target/tools && quietly apt_get update && quietly apt-get -qq download "$1" &&
    dpkg -x "$1"_*.deb . && rm "$1"_*.deb) || {
    echo "missing, and cannot be taken out of Debian's package: $1" >&2
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

# It sets the wall clock of a server under test, and of no other program.
command -v faketime >/dev/null || install faketime

# Adapters for servers of other languages are tried: bench/servers/script.
command -v go >/dev/null || install golang-go
python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv

# Web servers of others, for https and HTTP/2.
command -v caddy >/dev/null || [[ -x target/tools/usr/bin/caddy ]] || unpack caddy
command -v nginx >/dev/null || [[ -x target/tools/usr/sbin/nginx ]] || unpack nginx

# The broker that nodes share.
command -v nats-server >/dev/null || [[ -x target/tools/usr/sbin/nats-server ]] || unpack nats-server

# It counts the parser's instructions.
command -v valgrind >/dev/null || install valgrind

# Every server stream is an open file, and the tests open thousands.
ulimit -n "$(ulimit -Hn)"

# Package by package: a workspace build unifies features, and a crate that lacks one of its own would not be noticed.
# Each test target is a part: name, tab, command. The parts of the harness take longest, so they come first.
parts=$(cargo metadata --no-deps --format-version 1 --locked | node -e '
  const { packages } = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const weight = (name) => (name === "sse-bench" || name === "sse-conform" ? 0 : name === "sse-client" ? 1 : 2);
  packages.sort((a, b) => weight(a.name) - weight(b.name) || a.name.localeCompare(b.name));
  for (const { name, targets, metadata } of packages) {
    const has = (kind) => targets.some((it) => it.kind.includes(kind));
    // A server is tested as it is built by default: with its features it would be another program at the same path.
    const features = metadata?.server ? "" : " --all-features";
    const test = (part, words) => console.log(`${name}:${part}\tcargo test --locked${features} -p ${name} ${words}`);
    for (const target of targets.filter((it) => it.kind.includes("test"))) {
      test(target.name, `--test ${target.name}`);
    }
    const kinds = ["lib", "bin", "example"].filter(has);
    test("units", kinds.map((kind) => (kind === "lib" ? "--lib" : `--${kind}s`)).join(" "));
    if (has("lib")) test("docs", "--doc");
  }')
parts+=$'\nnode:client\tcd client/node && timeout 300 node --test'
parts+=$'\nnode:page\tcd client/web/browser && timeout 600 node --test'
# Other clients need npm, PyPI and a browser, and are checked before a release: CONTRIBUTING.md. Not by `cargo run`: it builds
# with other features than `cargo test`, and would exchange the program below the tests that run it.
for client in sse node-sse; do
  parts+=$'\n'"suite:$client"$'\t'"target/debug/sse-bench conform client $client --strict"
done
# Each benchmark once, as a test: its speed does not matter here, and a release build is slow to make. Instructions are
# counted in a release build, of a package that has few dependencies.
parts+=$'\nbenches:once\tcargo test --quiet --locked --all-features -p sse-bench --bench parser --bench encoder --bench fan_out'
parts+=$'\nbenches:instructions\tcargo run --release --quiet --locked -p sse-instructions'
# And those of an event, in the servers that have a cost.json: a release build of all would take minutes more.
if compgen -G '*/cost.json' >/dev/null; then
  parts+=$'\nbenches:cost\ttarget/debug/sse-bench cost --check'
fi
# The cases that take a minute only wait: all servers at once, from the beginning.
waiting=$(awk -F'\t' '/:conformance\t/ { sub(":", "-long:", $1); print $1 "\t" $2 " -- --ignored" }' <<<"$parts")

if ((${#wanted[@]})); then
  words=$(IFS='|'; echo "${wanted[*]}")
  parts=$(grep -E "^[^	]*($words)" <<<"$parts" || true)
  waiting=$(grep -E "^[^	]*($words)" <<<"$waiting" || true)
  [[ -n $parts$waiting ]] || { echo "no part has ${wanted[*]} in its name; ./test.sh --list prints them" >&2; exit 2; }
fi
if $list; then
  printf '%s\n' "$parts" "$waiting" | sed '/^$/d'
  exit
fi

logs=target/test
# Where the tests of bus and chaos find the servers that have the feature `nats`.
nodes=$PWD/target/nats
export SSE_NATS_SERVERS=$nodes
# Where the commands are that `cargo install` has made: beside running tests it would exchange the programs that they start.
export SSE_INSTALLED=$PWD/target/installed
mkdir -p "$logs"
# Logs of an earlier run do not count in this one.
rm -f "$logs"/*.log "$logs"/*.log.failed
spent=()

# timed NAME COMMAND...: runs it, and keeps its time for the end.
timed() {
  local name=$1 begin=$SECONDS
  shift
  say "$name"
  "$@"
  spent+=("$((SECONDS - begin)) s  $name")
}

# packages_with CONDITION: the names of this workspace's packages for which it holds, written in JavaScript about `it`.
packages_with() {
  cargo metadata --no-deps --format-version 1 --locked | node -e "
    const { packages } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
    for (const it of packages.filter((it) => $1)) console.log(it.name);"
}

build() {
  local package features servers=()
  # The nodes of the bus: one build, whose programs are kept, before the default ones take their places.
  if grep -qE '^sse-bench:(bus|chaos)' <<<"$parts"; then
    mapfile -t servers < <(packages_with 'it.metadata?.server')
    cargo build --quiet --locked --features nats "${servers[@]/#/--package=}"
    mkdir -p "$nodes"
    (cd target/debug && cp "${servers[@]}" "$nodes")
  fi
  for package in $(cut -f1 <<<"$parts" | cut -d: -f1 | sort -u | grep '^sse-' || true); do
    features=--all-features
    ! grep -q "^$package:.*cargo test --locked -p" <<<"$parts" || features=
    cargo test --quiet --locked $features -p "$package" --no-run
  done
  # Programs that tests start; building them is no part of what has a deadline.
  for package in $(packages_with true); do
    cargo build --quiet --locked -p "$package"
  done
  for package in $(packages_with 'it.targets.some((target) => target.name === "smallest")'); do
    cargo build --quiet --locked -p "$package" --example smallest
  done
  if grep -q '^sse-bench:workspace' <<<"$parts"; then
    for package in bench client; do
      quietly cargo install --debug --locked --offline --force --path "$package" --root "$SSE_INSTALLED"
    done
  fi
  # As bench/clients/sse/client.toml says; a compiler beside tests that judge times would make the host too busy to judge.
  if grep -q '^suite:sse' <<<"$parts"; then
    cargo build --release --quiet --locked -p sse-client --example conform_adapter
  fi
  if grep -q '^benches:' <<<"$parts"; then
    cargo test --quiet --locked --all-features -p sse-bench --no-run --bench parser --bench encoder --bench fan_out
    cargo build --release --quiet --locked -p sse-instructions
  fi
  if grep -q '^benches:cost' <<<"$parts"; then
    for counts in */cost.json; do
      cargo build --profile cost --quiet --locked --manifest-path "${counts%/*}/Cargo.toml"
    done
  fi
  # The packages of the lock file, unless they are there already.
  cmp -s client/web/browser/package-lock.json client/web/browser/node_modules/.from-lock || {
    (cd client/web/browser && npm ci --no-audit --no-fund --loglevel error)
    cp client/web/browser/package-lock.json client/web/browser/node_modules/.from-lock
  }
  # For the adapter in Python, and for the SDKs of models and tools.
  for folder in bench/servers/python-starlette bench/servers/python-sdks; do
    cmp -s "$folder/requirements.txt" "$folder/.venv/.from-lock" || {
      (cd "$folder" && python3 -m venv .venv &&
        .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt)
      cp "$folder/requirements.txt" "$folder/.venv/.from-lock"
    }
  done
}

# run_part NAME COMMAND: its output goes to its log, its verdict and time to the terminal.
run_part() {
  local name=$1 command=$2 begin=$SECONDS log status=0 TIMEFORMAT='%U %S' cpu
  log=$logs/${name//:/-}.log
  cpu=$({ time bash -c "$command" >"$log" 2>&1; } 2>&1) || status=$?
  printf '%4d s, %4.0f s of CPU  %s\n' "$((SECONDS - begin))" "$(awk '{ print $1 + $2 }' <<<"$cpu")" "$name" >>"$logs/times"
  if ((status == 0)); then
    printf '%5d s  ok      %s\n' "$((SECONDS - begin))" "$name"
    return
  fi
  # The names of the failed tests, for the count; what cargo and node print about them, for the reader.
  { sed -nE 's/^test (.*[^ ]) +\.\.\. FAILED$/\1/p; s/^ *not ok [0-9]+ - (.*)$/\1/p' "$log"; } |
    sort -u | sed "s/^/$name: /" >"$log.failed"
  [[ -s $log.failed ]] || echo "$name: exit code $status" >"$log.failed"
  cat "$log.failed" >>"$logs/failed"
  {
    printf '%5d s  FAILED  %s\n' "$((SECONDS - begin))" "$name"
    sed 's/^/    /' "$log.failed"
    printf '    the end of %s:\n' "$log"
    tail -n 40 "$log" | cut -c1-400 | sed 's/^/    | /'
    printf '    again: (%s)\n' "$command"
  } >&2
}

# Parts that judge times leave most of the machine idle while they wait, and want that: they run after the others, as many at
# a time as there are cores. At last, one by one, the parts that measure, and the page: its browsers take all cores, and made
# the host of other parts late by a second.
judges_times='conform_server|conform_client|one_fault|lifecycle|bench:attack|bench:bus|bench:load|bench:others|suite:|client:demo'
alone='node:page|bench:report|benches:cost'

run_all() {
  local name command
  while IFS=$'\t' read -r name command; do
    [[ -z $name ]] || run_part "$name" "$command" &
  done <<<"$waiting"
  run_pool $((2 * $(nproc))) < <(grep -vE "^[^	]*($judges_times|$alone)" <<<"$parts" || true)
  run_pool "$(nproc)" < <(grep -E "^[^	]*($judges_times)" <<<"$parts" || true)
  run_pool 1 < <(grep -E "^[^	]*($alone)" <<<"$parts" || true)
}

# run_pool N: the parts of standard input, N at a time.
run_pool() {
  local slots=$1 name command ended
  local -A running=()
  while IFS=$'\t' read -r name command; do
    [[ -n $name ]] || continue
    if ((${#running[@]} >= slots)); then
      # By their ids: `wait -n` alone also returns for those that ended while an earlier pool was waited for.
      wait -n -p ended "${!running[@]}" || true
      unset "running[$ended]"
    fi
    run_part "$name" "$command" </dev/null &
    running[$!]=$name
  done
  wait
}

timed "build" build

spinners=()
stop_spinners() {
  ((${#spinners[@]} == 0)) || kill "${spinners[@]}" 2>/dev/null || true
}
trap stop_spinners EXIT
# Background processes do not get Ctrl-C by themselves.
trap 'trap - INT TERM; kill 0' INT TERM
for ((n = 0; n < beside; n++)); do
  (while :; do :; done) &
  spinners+=("$!")
  disown
done

: >"$logs/failed"
for ((round = 1; round <= times; round++)); do
  : >"$logs/times"
  name="tests"
  ((times == 1)) || name="tests, round $round of $times"
  timed "$name" run_all
done

say "times"
sort -rn "$logs/times" | head -n 12
printf '%s\n' "${spent[@]}"
# cargo says "12 passed; 0 failed", node "# pass 12".
awk '/^test result:/ { passed += $4; failed += $6 } /^# pass / { passed += $3 } /^# fail / { failed += $3 }
  END { printf "%d passed, %d failed\n", passed, failed }' "$logs"/*.log
if [[ -s $logs/failed ]]; then
  say "failed, with how often"
  sort "$logs/failed" | uniq -c | sort -rn
  echo
  while IFS=$'\t' read -r name command; do
    ! grep -q "^$name: " "$logs/failed" || echo "again: ($command)"
  done <<<"$parts"$'\n'"$waiting"
  exit 1
fi
say "all passed"
