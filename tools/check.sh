#!/usr/bin/env bash
# The one command: everything that must hold before a change is taken in.
# All steps build in release: they share what they compile with the tests, which need it anyway. The tests come last,
# so that the last lines are their summary.
set -euo pipefail
cd "$(dirname "$0")/.."

# Most bytes of the packed crate.
MOST_PACKED=10000000

step() { printf '\n== %s\n' "$*"; }
target=${CARGO_TARGET_DIR:-target}

# With an MPI, the steps that build everything build its ranks as well: once, not a second time. That the build without
# it needs Rust alone is what the packed crate is checked for.
step "an MPI, for ranks"
mpi=
libclang() { [ -n "${LIBCLANG_PATH:-}" ] || ls /usr/lib/llvm-*/lib/libclang*.so* 2>/dev/null; }
if command -v mpirun && command -v mpicc && libclang; then
    mpi="--features mpi"
else
    echo "NOT CHECKED: several ranks are neither built nor run, since no MPI is installed here or libclang is missing" \
        "(Debian: apt-get install libopenmpi-dev openmpi-bin libclang-dev)"
fi

step format
cargo fmt --check

step lints
# shellcheck disable=SC2086 # two words or none, here and below
cargo clippy --release --all-targets $mpi -- -D warnings

step documentation
RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps $mpi

step "library for the browser (wasm32)"
wasm=wasm32-unknown-unknown
if [ -d "$(rustc --print sysroot)/lib/rustlib/$wasm/lib" ] || rustup target add "$wasm" >/dev/null 2>&1; then
    cargo check --release --lib --no-default-features --target "$wasm"
    cargo clippy --release --lib --no-default-features --features web --target "$wasm" -- -D warnings
else
    echo "NOT CHECKED: the target $wasm is not installed and \`rustup target add\` does not work here"
fi

step "the packed crate: nothing is missing, at most $MOST_PACKED bytes"
rm -f "$target"/package/fairy2i-gpu-*.crate
cargo package --no-verify --allow-dirty --quiet
packed=$(echo "$target"/package/fairy2i-gpu-*.crate)
bytes=$(wc -c <"$packed" | tr -d ' ')
echo "$packed: $bytes bytes"
if [ "$bytes" -gt "$MOST_PACKED" ]; then
    echo "error: the packed crate has more than $MOST_PACKED bytes: see \`cargo package --list\` and \`exclude\` in Cargo.toml"
    exit 1
fi
# What is left behind is removed and ended however this script ends. Its own status must stay: under `set -e` a trap whose
# `kill` finds no process any more would turn a success into a failure.
unpacked=$(mktemp -d)
clients=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$unpacked" "$clients"' EXIT
tar -xzf "$packed" -C "$unpacked"
crate=$(echo "$unpacked"/*/Cargo.toml)

# The oldest Rust checks the packed crate, so that one pass answers both questions. Another compiler cannot share what is
# built, so it has a folder of its own, and does not generate code.
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
step "the packed crate with the oldest Rust that is promised ($oldest)"
if rustup run "$oldest" rustc --version 2>/dev/null || rustup toolchain install "$oldest" --profile minimal 2>/dev/null
then
    rustup run "$oldest" cargo check --release --locked --manifest-path "$crate" --target-dir "$target/oldest"
else
    echo "NOT CHECKED with Rust $oldest: it is not installed and \`rustup toolchain install $oldest\` does not work here;" \
        "only the lint clippy::incompatible_msrv looked for newer functions"
    cargo check --release --manifest-path "$crate" --target-dir "$target"
fi

step "licences and sources of dependencies"
if command -v cargo-deny >/dev/null; then
    cargo deny check --config .deny.toml licenses bans sources
else
    echo "NOT CHECKED: cargo-deny is not installed (cargo install cargo-deny)"
fi

step "the official Python client against \`serve\`"
if python3 -m venv "$clients" 2>/dev/null && timeout 120 "$clients/bin/pip" install --quiet openai >/dev/null 2>&1; then
    cargo build --release $mpi
    "$target/release/fairy2i-gpu" serve --device cpu --port 0 --api-key sesame 2>"$clients/log" &
    server=$!
    until grep -q '^listening on ' "$clients/log"; do
        kill -0 "$server"
        sleep 0.2
    done
    url=$(sed -n 's/^listening on //p' "$clients/log")
    timeout 300 "$clients/bin/python" tools/openai_client.py "$url/v1" --key sesame
    kill "$server"
    wait "$server"
    server=
else
    echo "NOT CHECKED: the package \`openai\` cannot be installed here"
fi

# Other machines have other ratios, and other work beside this one: what has become ten times slower is what it finds.
step "speed: shares of what the machine's memory and cores do, against stored ones"
if [ -n "${CI:-}" ]; then
    cargo build --release $mpi
    for device in cpu gpu; do # in CI, the GPU is a software one
        "$target/release/fairy2i-gpu" bench --device $device -p 16 -n 8 -r 3 --activations 8 \
            --guard "benches/guard_$device.json" --guard-tolerance 90
    done
else
    echo "NOT CHECKED: the stored shares are those of machines without a GPU (CI=true compares with them)"
fi

step "the page in a browser, on software WebGPU and without WebGPU"
bindgen=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
if ! command -v chromium chromium-browser google-chrome >/dev/null; then
    echo "NOT CHECKED: no Chromium is installed here (Debian: apt-get install chromium)"
elif [ "$(wasm-bindgen --version 2>/dev/null)" != "wasm-bindgen $bindgen" ]; then
    echo "NOT CHECKED: wasm-bindgen $bindgen is not installed (cargo install wasm-bindgen-cli --version $bindgen)"
else
    tools/web.sh "$target/web"
    # shellcheck disable=SC2086
    cargo build --release $mpi
    python3 tools/web_test.py --quick --site "$target/web" --program "$target/release/fairy2i-gpu"
fi

step tests
[ -n "$mpi" ] || echo "NOT CHECKED: training among several ranks, see above"
cargo test --release $mpi
