#!/usr/bin/env bash
# Builds the fuzz targets and runs each on its kept corpus and on what grows from it.
#   fuzz/run.sh [SECONDS [TARGET...]]
# New inputs go to a directory that is thrown away; a crash is written to fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift $(($# > 0 ? 1 : 0))
host=$(rustc -vV | sed -n 's/^host: //p')
build=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
# Edge counters and comparisons, as libFuzzer takes them; the stable compiler has them.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
# With a target named, build scripts and macros stay as they are.
CARGO_TARGET_DIR=$build RUSTFLAGS=$flags cargo build --quiet --release --target "$host"
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
grown=$(mktemp -d)
trap 'rm -rf "$grown"' EXIT
mkdir -p artifacts
failed=0
for target in "${targets[@]}"; do
  mkdir -p "$grown/$target" "corpus/$target"
  log=$grown/$target.log
  words=()
  [ -f "dictionaries/$target" ] && words=("-dict=dictionaries/$target")
  if "$build/$host/release/$target" "$grown/$target" "corpus/$target" \
    -artifact_prefix="artifacts/$target-" \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -close_fd_mask=1 "${words[@]}" >"$log" 2>&1; then
    printf '%-14s %s\n' "$target" "$(grep -E 'DONE' "$log" | tail -n 1)"
  else
    failed=1
    printf '%s: FAILED\n' "$target"
    tail -n 40 "$log"
    for found in artifacts/"$target"-*; do
      [ -f "$found" ] && printf 'input, base64: %s\n' "$(base64 -w 0 "$found" | head -c 4000)"
    done
  fi
done
exit $failed
