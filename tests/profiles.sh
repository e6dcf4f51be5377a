#!/usr/bin/env bash
# Plugins that were not built like the host: optimised and linked as for a release, and with scripted panics in the
# entry points that the host calls quickly. Each is a build of its own, so this is apart from `cargo test`.
set -eu
cd "$(dirname "$0")/.."

cargo rustc --locked --release -p im-bridge-adapter-sim --crate-type cdylib
IM_BRIDGE_SESSION_PLUGIN="$PWD/target/release/libim_bridge_adapter_sim.so" IM_BRIDGE_SESSION_EVENTS=20000 \
  cargo test --locked -p im-bridge --test session

cargo test --locked -p im-bridge-sdk --features test-hooks --target-dir target/test-hooks --test hooks
