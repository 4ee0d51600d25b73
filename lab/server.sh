# A function for scripts that put functions of ours before a guest: a script sources this after it has a function `fail`, and ends $server when it ends.

# Starts `ioasis serve` (IOASIS: the command, in words; default: ./ioasis of this tree) and returns when it serves. What it says goes to LOG; sets server.
start_server() { # start_server LOG OPTION...
  local log=$1 ioasis
  shift
  read -ra ioasis <<< "${IOASIS:-$here/../../ioasis}"
  "${ioasis[@]}" serve "$@" > "$log" 2>&1 < /dev/null &
  server=$!
  for _ in $(seq 3000); do
    ! grep -q '^serving' "$log" || break
    kill -0 "$server" 2> /dev/null || { server=; fail "the server ended: $(tail -1 "$log")"; }
    sleep 0.1
  done
}
