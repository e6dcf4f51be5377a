#!/usr/bin/env bash
# Whole sessions of an adapter, linked statically into the test host, under AddressSanitizer: late releases, double
# releases and threads that outlive `stop` show up here and nowhere else. Needs a nightly toolchain, else says so.
# Arguments replace the tests: tests/sanitize.sh -p im-bridge --test host
set -eu
cd "$(dirname "$0")/.."
skip() {
  line="SKIP sanitize: $1; $2"
  echo "$line" >&2
  mkdir -p target && echo "$line" >> target/skips.txt
  case ",${IM_BRIDGE_REQUIRE:-}," in *,sanitize,*) exit 1 ;; esac
  exit 0
}
cargo +nightly --version > /dev/null 2>&1 || skip "no nightly toolchain" "rustup toolchain install nightly"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
case "$host" in
  x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
  *) skip "no AddressSanitizer for $host" "use Linux" ;;
esac
[ $# -gt 0 ] || set -- -p im-bridge-adapter-sim --test sessions
# Instances that hang are abandoned with their memory, by contract, so leaks are no errors here.
export ASAN_OPTIONS=detect_leaks=0 RUSTFLAGS=-Zsanitizer=address
export IM_BRIDGE_SESSION_EVENTS=${IM_BRIDGE_SESSION_EVENTS:-5000} # every access is checked
exec cargo +nightly test --locked --target "$host" --target-dir target/sanitize "$@"
