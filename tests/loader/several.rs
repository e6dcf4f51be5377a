//! Several files: which are found, which of them is used.

use super::{NONE, Workshop};
use im_bridge::loader::{Loader, Outcome};
use std::path::PathBuf;

fn load_all(shop: &Workshop) -> (Loader, Vec<Outcome>) {
    let mut config = shop.config();
    config.dirs = ["extra", "site", "system"]
        .map(|default| (default.into(), PathBuf::new()))
        .into();
    config.dirs.insert("test".into(), shop.path());
    let loader = Loader::new(config).unwrap();
    let outcomes = loader.load_folders();
    (loader, outcomes)
}

#[test]
fn the_same_version_with_other_content_is_refused() {
    let shop = Workshop::new();
    let first = shop.plugin("a", &["-DNAME=\"twice\""]);
    let second = shop.plugin("b", &["-DNAME=\"twice\"", "-DANSWER=7"]);
    shop.file("c.so", std::fs::read(&first).unwrap());
    let (_, outcomes) = load_all(&shop);
    let [a, b, c] = &outcomes[..] else {
        panic!("three files: {outcomes:?}");
    };
    let loaded = a.result.as_ref().unwrap();
    assert_eq!(
        shop.told(&second, b.result.as_ref().unwrap_err()),
        "plugin_duplicate: cannot load twice 1.0.0 (<dir>/b.so, sha256 <sha>): is twice 1.0.0, \
         as is <dir>/a.so with other content; remove one"
    );
    assert!(
        std::ptr::eq(*loaded, *c.result.as_ref().unwrap()),
        "the same content is no conflict"
    );
}

#[test]
fn subfolders_are_searched_and_other_names_are_not() {
    let shop = Workshop::new();
    let good = std::fs::read(shop.plugin("a", &["-DNAME=\"found\""])).unwrap();
    for folder in ["one", "one/two", ".hidden"] {
        std::fs::create_dir(shop.path().join(folder)).unwrap();
    }
    for name in [
        "one/b.so",
        "one/two/c.so",
        ".hidden/d.so",
        ".e.so",
        "f.so.1",
        "g.txt",
    ] {
        shop.file(name, &good);
    }
    let (_, outcomes) = load_all(&shop);
    let found: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            outcome
                .path
                .strip_prefix(shop.path())
                .unwrap()
                .to_str()
                .unwrap()
        })
        .collect();
    assert_eq!(found, ["a.so", "one/b.so"]);
}

#[test]
fn a_bad_file_does_not_keep_a_good_one_out_and_the_newest_is_used() {
    let shop = Workshop::new();
    shop.file("a.so", "no plugin");
    shop.plugin("b", &["-DNAME=\"newest\"", "-DVERSION=\"0.10.0\""]);
    shop.plugin("c", &["-DNAME=\"newest\"", "-DVERSION=\"0.9.0\""]);
    shop.plugin(
        "d",
        &[
            "-DNAME=\"newest\"",
            "-DVERSION=\"0.11.0-rc.1\"",
            "-DNULL_ENTRY",
        ],
    );
    let (loader, outcomes) = load_all(&shop);
    let accepted: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.result.is_ok())
        .collect();
    assert_eq!(accepted, [false, true, true, false]);
    assert_eq!(
        loader.select(&outcomes)["newest"].version.to_string(),
        "0.10.0"
    );
}

#[test]
fn a_held_version_is_used_although_a_newer_one_is_there() {
    let shop = Workshop::new();
    shop.plugin("a", &["-DNAME=\"held\"", "-DVERSION=\"1.0.0\""]);
    shop.plugin("b", &["-DNAME=\"held\"", "-DVERSION=\"2.0.0\""]);
    let (_, outcomes) = load_all(&shop);
    let mut config = shop.config();
    config.providers.entry("held".into()).or_default().hold = Some("1.0.0".into());
    let loader = Loader::new(config).unwrap();
    assert_eq!(
        loader.select(&outcomes)["held"].version.to_string(),
        "1.0.0"
    );
}

#[test]
fn a_folder_that_is_not_there_is_empty() {
    let shop = Workshop::new();
    let mut config = shop.config();
    config.dirs.insert("test".into(), shop.path().join("none"));
    drop(shop.plugin("p", NONE));
    let loader = Loader::new(config).unwrap();
    let here = |outcome: &&Outcome| outcome.path.starts_with(shop.path());
    assert_eq!(loader.load_folders().iter().filter(here).count(), 0);
}
