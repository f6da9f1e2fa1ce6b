#!/usr/bin/env bash
# Builds the page and the package for browsers into a folder of static files.
#
#   tools/web.sh [OUT]           OUT/index.html and what it needs (default: $CARGO_TARGET_DIR/web)
#   OUT/package                  what would be published: wasm, modules, types
#
# It needs the target wasm32-unknown-unknown and wasm-bindgen's program, of the version in Cargo.lock:
#   rustup target add wasm32-unknown-unknown; cargo install wasm-bindgen-cli --version VERSION
# Without wasm-opt: Debian's (version 108) breaks the table of JavaScript's values, and saves a twentieth.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
out=${1:-$target/web}
version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
found=$(wasm-bindgen --version 2>/dev/null || true)
if [ "$found" != "wasm-bindgen $version" ]; then
    echo "error: wasm-bindgen $version is needed, there is \"${found:-none}\": cargo install wasm-bindgen-cli --version $version" >&2
    exit 1
fi

wasm=wasm32-unknown-unknown
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+simd128" \
    cargo rustc --release --lib --crate-type cdylib --target $wasm --no-default-features --features web
rm -rf "$out/package"
mkdir -p "$out/package"
# Its names of functions are for debuggers alone.
wasm-bindgen --remove-name-section --remove-producers-section --target web --no-typescript --out-dir "$out/package" "$target/$wasm/release/fairy2i_gpu.wasm"
cp src/web/package/* "$out/package/"
crate=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
sed -i "s/\"version\": \".*\"/\"version\": \"$crate\"/" "$out/package/package.json"
cp src/web/page/* "$out/"
ls -l "$out" "$out/package" >&2
