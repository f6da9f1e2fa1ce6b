#!/usr/bin/env bash
# Runs a Windows program of this project on Direct3D 12, on a Debian machine without Windows and without a GPU.
#
#   tools/dx12.sh PROGRAM.exe ARGUMENT...   runs it; paths mean what they mean outside
#   tools/dx12.sh check                     builds and runs all there is to check, see below
#
# What stands in for a Windows machine: Microsoft's own shader compiler (FXC, the one that every Windows has) compiles the
# HLSL that naga writes; the Direct3D 12 of Wine turns the result into SPIR-V; Mesa's lavapipe runs that on the CPU. So the
# whole path is tested but Microsoft's runtime and a vendor's driver. Adapters are named by Wine and count as integrated
# GPUs; `--device dx12` chooses one. They offer what shader model 5.1 has: the plain kernels.
#
# It must run as root (for chroot and mounts) and downloads about 2 GB, once, into DX12_ROOT (/var/tmp/dx12): a Debian of
# its own from the mirror that this machine is configured for, and FXC from a Python package that carries it, if DX12_FXC
# does not name a d3dcompiler_47.dll. Nothing of it is a part of what we ship. Deleting the folder undoes it.
#
# `check` needs the target x86_64-pc-windows-gnu of Rust and gcc-mingw-w64-x86-64, and says what it lacks. It
# - compiles every pipeline of every plain kernel with FXC,
# - compares every op with its reference on every adapter that Wine shows (FAIRY2I_OP=name for some of them only),
# - writes the built-in model's text, quantizes and trains a small model here and there, and compares all files bit by bit.
set -euo pipefail

root=${DX12_ROOT:-/var/tmp/dx12}
here=$(cd "$(dirname "$0")/.." && pwd)
target=x86_64-pc-windows-gnu

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The Debian mirror this machine is configured for, whatever the format of its lists.
mirror() {
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" { print $2; exit }'
}

# A Debian with Wine and a lavapipe that is new enough for Wine's Direct3D 12, and FXC.
install() {
    local mirror packages=()
    for tool in debootstrap python3 unshare:util-linux; do
        command -v "${tool%%:*}" >/dev/null || packages+=("${tool##*:}")
    done
    [ -n "${DX12_FXC:-}" ] || python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
    apt-get update -qq
    [ ${#packages[@]} = 0 ] || apt-get install -y -qq --no-install-recommends "${packages[@]}"
    mirror=${DX12_MIRROR:-$(mirror)}
    [ -n "$mirror" ] || fail "apt knows no Debian mirror; name one in DX12_MIRROR"
    # an installation that was broken off is begun anew; a folder that is somebody else's is left alone
    [ ! -e "$root" ] || [ -e "$root/.fairy2i-dx12" ] || rmdir "$root" 2>/dev/null || fail "$root is there already and not ours"
    rm -rf "$root"
    mkdir -p "$root"
    touch "$root/.fairy2i-dx12"
    debootstrap --variant=minbase trixie "$root" "$mirror" >/dev/null
    printf 'deb %s %s main\n' "$mirror" trixie "$mirror" trixie-backports >"$root/etc/apt/sources.list"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    cp /etc/apt/apt.conf.d/* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true # a proxy, for one
    inside sh -c 'export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends -t trixie-backports mesa-vulkan-drivers libvulkan1
        apt-get install -y -qq --no-install-recommends wine wine64 xvfb xauth' >/dev/null
    if [ -n "${DX12_FXC:-}" ]; then
        cp "$DX12_FXC" "$root/opt/d3dcompiler_47.dll"
    else
        fetch_fxc
    fi
    touch "$root/ready"
}

# d3dcompiler_47.dll out of a package of ANGLE (old ones do not know shader model 5.1).
fetch_fxc() {
    local folder
    folder=$(mktemp -d)
    python3 -m pip download -q --no-deps --only-binary=:all: --platform win_amd64 --python-version 3.11 \
        -d "$folder" kivy_deps.angle
    python3 - "$folder" "$root/opt/d3dcompiler_47.dll" <<'PYTHON'
import glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
name = next(n for n in wheel.namelist() if n.endswith("/d3dcompiler_47.dll"))
open(sys.argv[2], "wb").write(wheel.read(name))
PYTHON
    rm -rf "$folder"
}

# Runs a command in there. What is mounted for it goes away with it, and so does nothing else.
inside() {
    unshare --mount --propagation private bash -euo pipefail -c '
        root=$1; shift
        mount --rbind /proc "$root/proc"; mount --rbind /dev "$root/dev"
        # the same paths inside as outside: the project, where we are, and what DX12_SHARE names
        for folder in $DX12_HERE "$PWD" ${DX12_SHARE:-}; do
            mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"
        done
        exec chroot "$root" env HOME=/root DX12_PWD="$PWD" "$@"' inside "$root" "$@"
}

# Runs a Windows program in there.
run() {
    local program
    program=$(mktemp -d "$root/run.XXXXXX")
    cp "$1" "$program/program.exe"
    cp "$root/opt/d3dcompiler_47.dll" "$program/"
    shift
    local status=0
    inside env WINEDEBUG=-all WINEPREFIX=/root/wine WINEDLLOVERRIDES="d3dcompiler_47=n;winedbg.exe=d" VKD3D_DEBUG=none \
        XDG_RUNTIME_DIR=/tmp VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json \
        sh -c 'cd "$DX12_PWD"; exec xvfb-run -a sh -c "wine \"\$@\"; status=\$?; wineserver -w; exit \$status" sh "$@"' \
        sh "/${program##*/}/program.exe" "$@" || status=$?
    rm -rf "$program"
    return $status
}

# The newest test program of that name.
built() {
    ls -t "$here/target/$target/release/deps/$1"-*.exe | head -1
}

# Files that tell when, where and in which folder a run was, and what hashes them.
told=(-x README.md -x config.toml -x curves.svg -x metrics.jsonl -x run.json -x manifest.json -x state.json -x .fairy2i-gpu.json)

# The same command here and there, in two folders; all other files must have the same bytes. FOLDER stands for the folder.
same() {
    local name=$1; shift
    mkdir -p "$work/linux" "$work/windows"
    "$here/target/release/fairy2i-gpu" "${@//FOLDER/$work/linux}" >"$work/linux/$name.out"
    run "$here/target/$target/release/fairy2i-gpu.exe" "${@//FOLDER/$work/windows}" | tr -d '\r' >"$work/windows/$name.out"
    diff -r "${told[@]}" "$work/linux" "$work/windows" || fail "$name: Linux and Windows differ"
    printf '%s: the same bytes\n' "$name"
}

check() {
    rustup target list --installed | grep -qx $target || fail "Rust lacks its target: rustup target add $target"
    command -v x86_64-w64-mingw32-gcc >/dev/null || fail "no linker: apt-get install gcc-mingw-w64-x86-64"
    cd "$here"
    cargo build --release
    cargo build --release --target $target
    cargo test --release --target $target --no-run --test shaders --test cross_check
    run "target/$target/release/fairy2i-gpu.exe" info
    run "$(built shaders)" --nocapture fxc
    run "$(built cross_check)" --nocapture every_op
    work=$(mktemp -d "$here/target/dx12.XXXXXX")
    same text generate --device cpu --temp 0 -n 48 "Once upon a time"
    local text
    text=$(run "target/$target/release/fairy2i-gpu.exe" generate --device dx12 --temp 0 -n 48 "Once upon a time" | tr -d '\r')
    [ "$text" = "$(cat "$work/linux/text.out")" ] || fail "text on DX12: $text"
    printf 'text on DX12: the same\n'
    same quantize quantize tests/data/models/stories260k FOLDER/packed
    for _ in $(seq 200); do cat LICENSE-APACHE; done >"$work/corpus.txt"
    same data data --tokenizer tests/data/models/stories260k --block 64 --out FOLDER/data "$work/corpus.txt"
    same train train -m tests/data/models/stories260k --data FOLDER/data --out FOLDER/run --steps 3 --seq 64 \
        --micro-batch 2 --batch-tokens 256 --device cpu
    rm -rf "$work"
}

[ "$(id -u)" = 0 ] || fail "this must run as root"
export DX12_HERE=$here
[ -e "$root/ready" ] || install
case ${1:-} in
    '') fail "name a program, or check" ;;
    check) check ;;
    *) run "$@" ;;
esac
