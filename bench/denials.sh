#!/usr/bin/env bash
# What a report of denials costs: CPU time of the same command with and without
# --log-denials, in turn. Usage: bench/denials.sh PINFOLD [ROUNDS]
set -eu
pinfold=$(realpath "$1")
rounds=${2:-7}
base=$(mktemp -d /var/tmp/pinfold-bench.XXXXXX)
trap 'rm -rf "$base"' EXIT
export XDG_STATE_HOME=$base/state PINFOLD_HOME=$base/config
cd "$base" && mkdir tree config && cd tree
for i in $(seq 60); do
  printf 'int f%d(int x) { return x + %d; }\n' "$i" "$i" >"f$i.c"
done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\n' >Makefile
git init -q . && for i in $(seq 2000); do echo "$i" >"n$i"; done
git add . && git -c user.name=n -c user.email=e commit -qm all

cpu() { # COMMAND... : user and system milliseconds of it and its children
  python3 - "$@" <<'END'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(round((used.ru_utime + used.ru_stime) * 1000))
END
}
compare() { # NAME COMMAND
  local name=$1 plain=() told=()
  for _ in $(seq "$rounds"); do
    rm -f ./*.o
    plain+=("$(cpu "$pinfold" run -- sh -c "$2")")
    rm -f ./*.o
    told+=("$(cpu "$pinfold" run --log-denials -- sh -c "$2")")
  done
  python3 - "$name" "${plain[*]}" "${told[*]}" <<'END'
import statistics, sys
plain, told = ([int(x) for x in sys.argv[i].split()] for i in (2, 3))
ratio = statistics.median(b / a for a, b in zip(plain, told) if a)
print(f"{sys.argv[1]:12} {statistics.median(plain):6.0f} ms   with a report {ratio:5.2f} x")
END
}
compare make "make"
compare "git status" "for i in 1 2 3 4 5 6 7 8 9 10; do git status; done"
compare "20,000 files" "mkdir /tmp/t; cd /tmp/t; python3 -c 'for i in range(20000): open(str(i), \"w\").close()'"
