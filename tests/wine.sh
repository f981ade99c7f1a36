#!/usr/bin/env bash
# Runs the Windows program under Wine: that it starts, reads its arguments, finds
# the places of Windows, runs commands, and refuses what it cannot do. Wine does not
# heed restricted tokens: nothing here says what a sandbox holds. Usage: tests/wine.sh PROGRAM [TEST...], a pinfold.exe built
# for the gnu target, and programs with tests that hold on Windows too.
set -u
program=$(realpath "$1") || exit 1
shift
work=$(mktemp -d /var/tmp/pinfold-wine.XXXXXX) || exit 1
export WINEPREFIX=$work/prefix WINEDEBUG=-all WINEDLLOVERRIDES=winedbg.exe=d
trap 'timeout 20 wineserver -k; rm -rf "$work"' EXIT
timeout 120 wineboot -i >/dev/null 2>&1

# Wine 8 lacks the library that Rust takes random numbers from.
cat >"$work/random.c" <<'C'
#include <windows.h>
#include <bcrypt.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T length) {
  return BCryptGenRandom(NULL, bytes, (ULONG)length, BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0;
}
C
x86_64-w64-mingw32-gcc -shared -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
  "$work/random.c" -lbcrypt || exit 1

failed=0
check() { # STATUS TEXT ARGUMENT...
  local status=$1 text=$2 found
  shift 2
  (cd "$work" && timeout 60 wine "$program" "$@") >"$work/out" 2>&1
  found=$?
  if [ "$found" -ne "$status" ] || ! grep -qF -- "$text" "$work/out"; then
    printf 'pinfold %s: status %s instead of %s, or no "%s" in:\n' "$*" "$found" "$status" "$text"
    sed 's/^/  /' "$work/out"
    failed=1
  fi
}

check 0 'pinfold 0.' --version
check 0 ':workspace' profiles
check 0 'AppData/Roaming/Microsoft/Protect' profiles :secrets
check 0 'sandbox accounts' doctor
check 0 'token flags' explain
check 0 'Program Files (x86)' explain -p :restricted
check 1 'missing: ' setup --check
check 2 'unknown option' run --no-such-option
check 1 'this is windows, not linux' sandbox linux cmd
check 125 'cannot enforce' run cmd /c exit 3
check 0 'ran' run -p :danger-full-access cmd /c echo ran
PINFOLD_PROGRAM=Z:$(printf '%s' "$program" | tr / '\\')
export PINFOLD_PROGRAM
for test in "$@"; do
  (cd "$work" && timeout 300 wine "$test" --test-threads 1) >"$work/out" 2>&1 || {
    printf '%s:\n' "$(basename "$test")"
    sed 's/^/  /' "$work/out"
    failed=1
  }
done
[ "$failed" -eq 0 ] && echo "wine: ok"
exit "$failed"
