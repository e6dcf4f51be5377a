//! Whole sessions with the plugin file as it is dropped into a folder, through the system's loader.
//!
//! The lives and what must hold for them are `scenario`'s; the adapter's own tests run the same ones linked statically,
//! where sanitizers see both sides.
#![allow(
    unsafe_code,
    reason = "loads a plugin file without the core's loader, to see the adapter alone"
)]

mod scenario;

use im_bridge_plugin_api::abi::{self, EntryFn};
use im_bridge_sdk::test::Entry;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::path::PathBuf;

/// The plugin that the environment names, else the one that cargo put beside this test.
fn plugin() -> PathBuf {
    if let Some(path) = std::env::var_os("IM_BRIDGE_SESSION_PLUGIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a test knows its file");
    let folder = own.parent().expect("a file lies in a folder");
    folder.join(format!(
        "libim_bridge_adapter_sim{}",
        std::env::consts::DLL_SUFFIX
    ))
}

fn loaded() -> Entry {
    let path = plugin();
    // SAFETY: cargo has just built the file; its constructors are those of the standard library.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // SAFETY: the symbol has this type, by the contract.
    let entry = unsafe {
        *library
            .get::<EntryFn>(abi::ENTRY_SYMBOL)
            .expect("it exports its entry")
    };
    std::mem::forget(library);
    // SAFETY: it is an adapter's entry function, and the image stays mapped.
    unsafe { Entry::new(entry) }
}

#[test]
fn whole_sessions_keep_the_contract_when_loaded() {
    scenario::run(loaded(), scenario::Plan::from_environment(100_000, 1_000));
}
