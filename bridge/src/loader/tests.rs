//! What happens to a plugin that is loaded when its file is replaced, and to a file that changes while it is read.
//!
//! Here and not beside the other tests because they call a loaded adapter, and reach into reading.

#![allow(unsafe_code, reason = "one call into a loaded test plugin")]

#[path = "../../../tests/loader/build.rs"]
mod build;

use super::config::{Place, PluginsConfig, StageMode};
use super::{Loaded, Loader, content, trust};
use build::Workshop;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

fn loader(shop: &Workshop, stage: StageMode) -> Loader {
    Loader::new(PluginsConfig {
        stage,
        stage_dir: shop.path().join("stage"),
        ..PluginsConfig::default()
    })
    .unwrap()
}

/// What this image's code says, as opposed to its file.
fn answer(loaded: &Loaded) -> i32 {
    let cancel = loaded.adapter.cancel.unwrap();
    // SAFETY: the test plugin's function looks at none of its arguments.
    unsafe { cancel(std::ptr::null_mut(), 0) }.0
}

fn plugin(shop: &Workshop, name: &str, answer: u32) -> std::path::PathBuf {
    // Other names make other contents: what one test loaded stays for all.
    let provider = name.split('-').next().unwrap();
    let args = [
        format!("-DNAME=\"{provider}\""),
        format!("-DANSWER={answer}"),
    ];
    shop.plugin(name, &args)
}

/// Loads version 1, lets `replace` put version 2 at its path, loads that; both must run their own code from then on.
fn replaced(provider: &str, stage: StageMode, replace: fn(new: &Path, at: &Path)) {
    let shop = Workshop::new();
    let loader = loader(&shop, stage);
    let at = plugin(&shop, &format!("{provider}-at"), 1);
    let new = plugin(&shop, &format!("{provider}-new"), 2);
    let first = loader.load(&at).unwrap();
    replace(&new, &at);
    assert_eq!(answer(first), 1, "the old code stays");
    let second = loader.load(&at).unwrap();
    assert_eq!((answer(first), answer(second)), (1, 2));
    std::fs::remove_file(&at).unwrap();
    assert_eq!((answer(first), answer(second)), (1, 2));
}

#[test]
fn renaming_over_a_loaded_file_loads_the_new_code_beside_the_old() {
    let rename = |new: &Path, at: &Path| std::fs::rename(new, at).unwrap();
    replaced("renamed", StageMode::Dir, rename);
    replaced("renamedmemory", StageMode::Memory, rename);
}

#[test]
fn writing_into_a_loaded_file_does_not_touch_the_loaded_code() {
    let overwrite = |new: &Path, at: &Path| {
        let content = std::fs::read(new).unwrap();
        // Shorter first: pages of a file that was mapped itself would be gone.
        let mut file = std::fs::File::create(at).unwrap();
        file.write_all(&content).unwrap();
    };
    replaced("overwritten", StageMode::Dir, overwrite);
    replaced("overwrittenmemory", StageMode::Memory, overwrite);
}

#[test]
fn a_link_that_is_swapped_leads_to_the_new_code() {
    let shop = Workshop::new();
    let loader = loader(&shop, StageMode::Dir);
    let old = plugin(&shop, "linked-old", 1);
    let new = plugin(&shop, "linked-new", 2);
    let link = shop.path().join("current.so");
    symlink(&old, &link).unwrap();
    let first = loader.load(&link).unwrap();
    let beside = shop.path().join("beside");
    symlink(&new, &beside).unwrap();
    std::fs::rename(&beside, &link).unwrap();
    let second = loader.load(&link).unwrap();
    assert_eq!((answer(first), answer(second)), (1, 2));
}

#[test]
fn memory_copies_do_not_get_in_each_others_way() {
    let shop = Workshop::new();
    let loader = loader(&shop, StageMode::Memory);
    let loaded: Vec<_> = (1..=4)
        .map(|n| {
            loader
                .load(&plugin(&shop, &format!("memory-{n}"), n))
                .unwrap()
        })
        .collect();
    let answers: Vec<_> = loaded.iter().map(|loaded| answer(loaded)).collect();
    assert_eq!(answers, [1, 2, 3, 4]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let shop = Workshop::new();
    // Several chunks, so that there is a time in between.
    let path = shop.file("p.so", vec![7; 3 << 20]);
    let rules = trust::Rules {
        own: trust::Identity::own(),
        place: Place::Strict,
        max_mib: 16,
    };
    let read = |change: &dyn Fn()| {
        let mut once = Some(change);
        let trusted = trust::open(&path, &rules).unwrap();
        content::read_watched(&trusted, &mut || {
            if let Some(change) = once.take() {
                change();
            }
        })
        .map(|content| content.bytes.len())
    };
    let change = |change: &dyn Fn(&std::fs::File)| {
        change(&std::fs::File::options().write(true).open(&path).unwrap());
    };
    assert_eq!(read(&|| ()), Ok(3 << 20));

    let grown = read(&|| change(&|file| file.set_len(4 << 20).unwrap()));
    let cut = read(&|| change(&|file| file.set_len(2 << 20).unwrap()));
    // A clock tick of the file system may be longer than the test: set the time as a writer a moment later would.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    let touched = read(&|| change(&|file| file.set_modified(later).unwrap()));
    for changed in [grown, cut, touched] {
        assert_eq!(
            changed.unwrap_err().to_string(),
            "changed while it was read; copy it beside and rename it"
        );
    }

    let renamed = read(&|| {
        let beside = shop.file("beside", "another");
        std::fs::rename(beside, &path).unwrap();
    });
    assert_eq!(
        renamed,
        Ok(2 << 20),
        "what was opened and cut above is read whole"
    );
}
