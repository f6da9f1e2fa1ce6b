#!/usr/bin/env bash
# The one command: everything that must hold before a change is taken in.
# All steps build in release: they share what they compile with the tests, which need it anyway.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step format
cargo fmt --check

step lints
cargo clippy --release --all-targets -- -D warnings

step documentation
RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps

step "library for the browser (wasm32)"
wasm=wasm32-unknown-unknown
if [ -d "$(rustc --print sysroot)/lib/rustlib/$wasm/lib" ] || rustup target add "$wasm" >/dev/null 2>&1; then
    cargo check --release --lib --no-default-features --target "$wasm"
else
    echo "NOT CHECKED: the target $wasm is not installed and \`rustup target add\` does not work here"
fi

step "licences and sources of dependencies"
if command -v cargo-deny >/dev/null; then
    cargo deny check --config .deny.toml licenses bans sources
else
    echo "NOT CHECKED: cargo-deny is not installed (cargo install cargo-deny)"
fi

step tests
cargo test --release
