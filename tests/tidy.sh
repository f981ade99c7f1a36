#!/usr/bin/env bash
# The invariants of the house that a compiler does not check.
set -u
cd "$(dirname "$0")/.."
bad=0
complain() { printf '%s\n' "$1"; bad=1; }

while IFS= read -r file; do
  lines=$(wc -l <"$file")
  [ "$lines" -le 500 ] || complain "$file: $lines lines, at most 500"
  case $file in
    crates/pinfold-sys/* | */tests/* | */benches/* | fuzz/*) continue ;;
  esac
  if grep -nE '(^|[^a-z_"`])unsafe( |\{)|allow\(unsafe_code' "$file" | grep -vE '^[0-9]+: *//' ; then
    complain "$file: unsafe outside pinfold-sys"
  fi
  if grep -nE 'cfg(_attr)?\(.*(target_os|unix|windows)' "$file"; then
    complain "$file: cfg on a system outside pinfold-sys"
  fi
done < <(git ls-files '*.rs')

# Dependencies point one way.
depends() { grep -qE "^$2 = " "crates/$1/Cargo.toml"; }
for pair in "pinfold-policy pinfold-sys" "pinfold-policy pinfold" "pinfold-sys pinfold" \
  "pinfold-sys pinfold-egress" "pinfold-egress pinfold-sys" "pinfold-egress pinfold" "pinfold pinfold-cli"; do
  set -- $pair
  [ -f "crates/$1/Cargo.toml" ] || continue
  if depends "$1" "$2"; then complain "crates/$1 must not depend on $2"; fi
done
grep -q 'forbid(unsafe_code)' crates/pinfold-policy/src/lib.rs || complain "pinfold-policy must forbid unsafe code"
if grep -rnE 'std::(fs|net|process|env|thread|io)\b' crates/pinfold-policy/src --include='*.rs' | grep -vE 'net::(IpAddr|Ipv|\{Ip)'; then
  complain "pinfold-policy must not do any input or output"
fi
if git grep -nE 'todo!\(|unimplemented!\(|TODO|FIXME|#\[ignore' -- '*.rs' '*.sh' '*.toml' | grep -v '^tests/tidy.sh'; then
  complain "unfinished work"
fi
[ "$bad" -eq 0 ] && echo "tidy: ok"
exit "$bad"
