#!/usr/bin/env bash
# Runs the services of docs/services.md against a demo: those whose client is there, the others are skipped, loudly.
# The clients: pip install nats-py; npm install @nats-io/transport-node @nats-io/jetstream (NODE_MODULES names the folder
# that has them, if it is not the one above). The Rust one is built with the versions of this tree; SERVICES=rust adds it.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
bridge=${IM_BRIDGE:-$root/target/debug/im-bridge}
if [ ! -x "$bridge" ]; then cargo build --locked -p im-bridge; fi
work=$(mktemp -d)
demo=
end() {
  if [ -n "$demo" ]; then kill -INT "$demo" 2>/dev/null && wait "$demo" || true; fi
  rm -rf "$work"
}
trap end EXIT

# The code of the one fence with this mark.
fence() {
  awk -v mark="\`\`\`$1" '$0 == mark { on = 1; next } /^```/ { on = 0 } on' docs/services.md
}

skip() {
  echo "SKIP services $1: $2" >&2
  mkdir -p target && echo "SKIP services $1: $2" >> target/skips.txt
  case ",${IM_BRIDGE_REQUIRE:-}," in *,services,*) exit 1 ;; esac
}

"$bridge" demo --rate 5 > "$work/demo.txt" &
demo=$!
until grep -q '  in   sim/demo' "$work/demo.txt"; do
  if ! kill -0 "$demo" 2>/dev/null; then cat "$work/demo.txt"; echo "the demo ended"; exit 1; fi
  sleep 0.1
done
NATS_URL=nats://$(sed -n 's/^  nats  *[^ ]*  \(127[^,]*\),.*/\1/p' "$work/demo.txt")
export NATS_URL

# Three answers, all of them ok.
judge() {
  cat "$work/$1.txt"
  if [ "$(grep -c '^"\{0,1\}ok"\{0,1\} ' "$work/$1.txt")" != 3 ]; then echo "services $1: FAILED"; exit 1; fi
  echo "services $1: ok"
}

ran=0
if python3 -c 'import nats' 2>/dev/null; then
  fence "python service" > "$work/service.py"
  timeout 120 python3 "$work/service.py" > "$work/python.txt"
  judge python
  ran=$((ran + 1))
else
  skip python "no module nats; pip install nats-py"
fi

modules=${NODE_MODULES:-$root/node_modules}
if command -v node > /dev/null && [ -d "$modules/@nats-io/jetstream" ]; then
  ln -s "$modules" "$work/node_modules"
  fence "js service" > "$work/service.mjs"
  timeout 120 node "$work/service.mjs" > "$work/node.txt"
  judge node
  ran=$((ran + 1))
else
  skip node "no client; npm install @nats-io/transport-node @nats-io/jetstream, and set NODE_MODULES"
fi

if [ "${SERVICES:-}" = rust ]; then
  mkdir -p "$work/service/src"
  { printf '[package]\nname = "service"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n\n'; fence "toml service"; } \
    > "$work/service/Cargo.toml"
  fence "rust service" > "$work/service/src/main.rs"
  cp Cargo.lock "$work/service/"
  (cd "$work/service" && CARGO_TARGET_DIR="$root/target/services" cargo run -q) > "$work/rust.txt"
  judge rust
  ran=$((ran + 1))
else
  skip rust "a build of its own; set SERVICES=rust"
fi

kill -INT "$demo"
if ! wait "$demo"; then demo=; tail -1 "$work/demo.txt"; echo "services: the demo's verdict is bad"; exit 1; fi
demo=
tail -1 "$work/demo.txt"
echo "services: $ran of 3 ran, and none failed"
