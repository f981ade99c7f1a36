#!/usr/bin/env bash
# What a launch costs that does not depend on load: system calls and page faults of all its processes
# together, `true` included, in a profile with a writable workspace, a private /tmp and no network.
# Usage: bench/counts.sh PINFOLD; needs strace and perf.
set -eu
pinfold=$(realpath "$1")
base=$(mktemp -d /var/tmp/pinfold-bench.XXXXXX)
trap 'rm -rf "$base"' EXIT
export HOME=$base PINFOLD_HOME=$base/config
mkdir "$base/config" "$base/work" && cd "$base/work"
cat >"$base/config/config.toml" <<'END'
default_permissions = "counts"
[permissions.counts]
private_tmp = true
git = "write"
[permissions.counts.filesystem]
":root" = "read"
[permissions.counts.filesystem.":workspace_roots"]
"." = "write"
END

calls() { # COMMAND
  strace -f -qq -e signal=none -o "$base/calls" "$@"
  grep -vc 'resumed>' "$base/calls"
}
faults() { # COMMAND : the fewest of five, since the first finds nothing in memory
  for _ in 1 2 3 4 5; do
    perf stat -x, -e page-faults "$@" 2>&1 | cut -d, -f1
  done | sort -n | head -1
}
printf '%-12s %12s %12s\n' '' 'system calls' 'page faults'
printf '%-12s %12s %12s\n' bare "$(calls true)" "$(faults true)"
printf '%-12s %12s %12s\n' pinfold "$(calls "$pinfold" run -q true)" "$(faults "$pinfold" run -q true)"
