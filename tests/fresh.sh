#!/usr/bin/env bash
# A newcomer's first minutes: a fresh clone of what is committed here, in a temporary folder, and the README's commands in
# their order, as they stand and nothing else. For maintainers, because it builds everything anew.
# FRESH_SKIP_LONG=1 leaves out the fences marked `sh long`, which take many minutes.
set -eu
cd "$(dirname "$0")/.."
source=$PWD
work=$(mktemp -d)
demo=
end() {
  code=$?
  if [ -n "$demo" ]; then kill -INT "$demo" 2>/dev/null && wait "$demo" || true; fi
  rm -rf "$work"
  if [ $code -ne 0 ]; then echo "fresh: FAILED, at: ${now:-the clone}"; fi
}
trap end EXIT

git clone -q "$source" "$work/clone"
cd "$work/clone"
# Nothing of this shell's own helps or hinders.
unset IM_BRIDGE_CONFIG IM_BRIDGE_NATS_SERVER IM_BRIDGE__NATS__URL CARGO_TARGET_DIR

count=0
while IFS= read -r command <&3; do
  now=$command
  echo "fresh: $command"
  case "$command" in
    "cargo run -- demo")
      $command > "$work/demo.txt" 2> "$work/build.txt" &
      demo=$!
      until grep -q '  in   sim/demo' "$work/demo.txt"; do
        if ! kill -0 "$demo" 2>/dev/null; then tail -20 "$work/build.txt" "$work/demo.txt"; exit 1; fi
        sleep 1
      done
      ;;
    *) bash -c "$command" ;;
  esac
  count=$((count + 1))
done 3< <(
  awk -v long="${FRESH_SKIP_LONG:-}" '
    /^```sh run$/ || (/^```sh long$/ && long == "") { on = 1; next }
    /^```/ { on = 0 }
    on { sub(/ +# .*/, ""); print }
  ' README.md
)

now="the demo's verdict"
if [ -z "$demo" ]; then echo "fresh: the README starts no demo"; exit 1; fi
# cargo became what it ran: this is the demo's own process.
kill -INT "$demo"
wait "$demo"
demo=
verdict=$(tail -1 "$work/demo.txt")
echo "$verdict"
case "$verdict" in "demo: "*"; 0 lost, 0 doubled; "*) ;; *) exit 1 ;; esac
echo "fresh: all good, $count commands of the README in a clone of $(git rev-parse --short HEAD)"
