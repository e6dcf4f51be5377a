//! The documents are true: what they point to is there, and what they show happens.
//!
//! Not here: pages that are compared with the code's own lists (`tests/cli`, the SDK).
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod documents;
#[path = "../demo/home.rs"]
#[allow(dead_code, reason = "the demo's tests use all of it")]
mod home;
mod page;
#[path = "../tidy/tree.rs"]
#[allow(dead_code, reason = "the tidy tests use all of it")]
mod tree;

use home::{Home, server};
use page::Page;
use rustix::process::Signal;

#[test]
fn the_readme_does_what_it_says() {
    if server("readme").is_none() {
        return;
    }
    let home = Home::new();
    let page = Page::read("README.md");
    let demo = page.play(&home, None);
    let mut demo = demo.expect("it begins with the demo");
    demo.signal(Signal::INT);
    demo.until(&["demo: ", "; 0 lost, 0 doubled; "]);
    assert!(demo.ended().success());
}

#[test]
fn the_commands_of_the_operations_page_work() {
    if server("operations page").is_none() {
        return;
    }
    let home = Home::new();
    let mut demo = home.start(&[]);
    demo.until(&["in   sim/demo "]);
    let page = Page::read("docs/operations.md");
    page.play(&home, Some(demo));
}
