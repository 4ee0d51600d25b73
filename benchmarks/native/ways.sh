#!/usr/bin/env bash
# What a call costs a program by each way to the machine, beside getpid(2) in the same process: from outside (ioasis exec), in its process
# (--via preload), and by libioasis itself. Nanoseconds, the least of some rounds.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$root/native"
gcc -O2 -pthread -o "$work/figures" "$root/tests/Ioasis.Exec.Tests/programs/figures.c"
gcc -O2 -o "$work/calls" "$root/benchmarks/native/calls.c" -I"$root/artifacts/native" -L"$root/artifacts/native" -lioasis
for way in supervisor preload; do
  echo "== ioasis exec --via $way"
  "$root/ioasis" exec --via "$way" --device edu -- "$work/figures"
done
echo "== libioasis"
LD_LIBRARY_PATH="$root/artifacts/native" "$work/calls"
echo "== start and end of a program, milliseconds"
for way in none supervisor preload; do
  run=(true)
  [ "$way" = none ] || run=("$root/ioasis" exec --via "$way" --device edu -- true)
  least=
  for _ in 1 2 3 4 5; do
    begin=$(date +%s%N); "${run[@]}"; took=$((($(date +%s%N) - begin) / 10000))
    if [ -z "$least" ] || [ "$took" -lt "$least" ]; then least=$took; fi
  done
  printf '%-12s %d.%02d\n' "$way" $((least / 100)) $((least % 100))
done
