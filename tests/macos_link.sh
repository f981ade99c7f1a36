#!/usr/bin/env bash
# Links the macOS program on another system, with the linker of Zig and the declarations of
# libSystem that come with it, and looks at what it would load there.
#   tests/macos_link.sh TRIPLE PYTHON TARGET_DIRECTORY
# PYTHON has the package ziglang. Nothing is run: that takes a Mac.
set -euo pipefail
cd "$(dirname "$0")/.."
triple=$1 python=$2 target=$3
case $triple in
  aarch64-apple-darwin) zig=aarch64-macos ;;
  x86_64-apple-darwin) zig=x86_64-macos ;;
  *) echo "no such target: $triple" && exit 2 ;;
esac
linker=$(mktemp)
trap 'rm -f "$linker"' EXIT
# Rust passes words of Apple's own compiler that Zig does not take.
cat >"$linker" <<END
#!/usr/bin/env bash
words=()
while [ \$# -gt 0 ]; do
  case \$1 in
    -arch) shift ;;
    -mmacosx-version-min=* | -nodefaultlibs | -liconv | --target=*) ;;
    *) words+=("\$1") ;;
  esac
  shift
done
exec "$python" -m ziglang cc -target $zig "\${words[@]}"
END
chmod +x "$linker"
name=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$triple")_LINKER
env "$name=$linker" SDKROOT=/nonexistent RUSTFLAGS="-Clinker-flavor=gcc" CARGO_TARGET_DIR="$target" \
  cargo build --quiet --target "$triple" -p pinfold-cli 2>"$target/link.log" ||
  { cat "$target/link.log"; exit 1; }
program=$target/$triple/debug/pinfold
# The magic number of a 64-bit Mach-O file, then the libraries in its load commands.
magic=$(od -An -tx4 -N4 "$program" | tr -d ' ')
[ "$magic" = feedfacf ] || { echo "not a program for macOS: $magic"; exit 1; }
loaded=$(head -c 65536 "$program" | strings -n 8 | grep -E '^(/usr/lib|/System)/.*(dylib|\.framework)' | sort -u)
echo "$triple loads: $loaded"
if grep -vE '^/usr/lib/(libSystem\.B\.dylib|dyld)$' <<<"$loaded"; then
  echo "more than libSystem is loaded"
  exit 1
fi
