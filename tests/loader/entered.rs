//! Refused by what the entry function answers.

use super::{NONE, Workshop};

/// Builds a plugin whose code differs, and answers the refusal without its beginning.
fn refused(args: &[&str]) -> String {
    let shop = Workshop::new();
    let text = shop.refusal(&shop.plugin("p", args));
    text.replace("cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): ", "")
}

#[test]
fn a_good_plugin_is_entered_and_loaded_once() {
    let shop = Workshop::new();
    let file = shop.plugin("p", NONE);
    let loaded = shop.load(&file).unwrap();
    assert_eq!(
        (
            loaded.provider.as_str(),
            loaded.version.to_string().as_str()
        ),
        ("zoo", "1.0.0")
    );
    assert!(loaded.description.capabilities.emits("message.created"));
    let copy = shop.file("copy.so", std::fs::read(&file).unwrap());
    assert!(
        std::ptr::eq(loaded, shop.load(&copy).unwrap()),
        "the same content"
    );
}

#[test]
fn null_means_that_the_adapter_refuses() {
    assert_eq!(
        refused(&["-DNULL_ENTRY"]),
        "plugin_entry: entry field pointer is NULL, expected an entry; rebuild it"
    );
}

#[test]
fn the_entry_must_be_one_of_this_contract() {
    assert_eq!(
        refused(&["-DENTRY_MAGIC={'W','R','O','N','G'}"]),
        r"plugin_entry: entry field magic is WRONG\u{0}\u{0}\u{0}, expected IMBRIDGE; rebuild it"
    );
    assert_eq!(
        refused(&["-DENTRY_MAJOR=2"]),
        "plugin_entry: entry field major is 2, expected 1; rebuild it"
    );
    assert_eq!(
        refused(&["-DENTRY_NAME=\"oof\""]),
        "plugin_entry: entry field name is `oof`, expected `zoo`; rebuild it"
    );
}

#[test]
fn the_table_must_be_whole() {
    assert_eq!(
        refused(&["-DTABLE_SIZE=48"]),
        "plugin_table: adapter table has 48 bytes and lacks cancel; rebuild it"
    );
    assert_eq!(
        refused(&["-DSETTLE=0"]),
        "plugin_table: adapter table has 88 bytes and lacks settle; rebuild it"
    );
    assert_eq!(
        refused(&["-DTABLE_SIZE=91"]),
        "plugin_entry: entry field adapter is 91 bytes long, expected a multiple of 8; rebuild it"
    );
}
