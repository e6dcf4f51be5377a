//! Refused without running any of it.

use super::{NONE, Workshop, build};
use im_bridge::loader::config::{Isolation, ProviderConfig};
use im_bridge::loader::inspect::glibc::GlibcVersion;
use im_bridge::loader::inspect::{Rules, inspect};
use im_bridge::loader::{Loader, PluginsConfig};

/// Builds with these arguments and answers the refusal.
fn refused(args: &[&str]) -> String {
    let shop = Workshop::new();
    let file = shop.plugin("p", args);
    shop.refusal(&file)
}

/// Builds well, changes the bytes and answers the refusal.
fn altered(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let shop = Workshop::new();
    let mut bytes = std::fs::read(shop.plugin("p", NONE)).unwrap();
    change(&mut bytes);
    let file = shop.file("p.so", &bytes);
    shop.refusal(&file)
}

#[test]
fn a_text_is_no_plugin() {
    let shop = Workshop::new();
    let script = shop.file("p.so", "#!/bin/sh\n");
    assert_eq!(
        shop.refusal(&script),
        "plugin_not_elf: cannot load <dir>/p.so: is not an ELF shared library (begins with 23 21 2f 62); \
         build it as a cdylib"
    );
    let empty = shop.file("p.so", "");
    assert_eq!(
        shop.refusal(&empty),
        "plugin_not_elf: cannot load <dir>/p.so: is not an ELF shared library (it is empty); build it as a cdylib"
    );
}

#[test]
fn a_file_that_is_cut_off_says_how_much_is_missing() {
    let mut length = 0;
    let text = altered(|bytes| {
        length = bytes.len();
        bytes.truncate(1000);
    });
    assert_eq!(
        text,
        format!(
            "plugin_truncated: cannot load <dir>/p.so: ends at byte 1000, its headers need {length}; \
             wait until it is copied, or copy and rename it"
        )
    );
}

#[test]
fn another_machine_is_named() {
    // s390x, by which this will hardly ever be run.
    let text = altered(|bytes| bytes[18..20].copy_from_slice(&[22, 0]));
    let (ours, triple) = if cfg!(target_arch = "x86_64") {
        ("x86-64", "x86_64-unknown-linux-gnu")
    } else {
        ("aarch64", "aarch64-unknown-linux-gnu")
    };
    assert_eq!(
        text,
        format!(
            "plugin_target: cannot load <dir>/p.so: is built for s390x, this host is {ours}; \
             build it with --target {triple}"
        )
    );
}

#[test]
fn a_library_without_descriptor_is_no_plugin() {
    assert_eq!(
        refused(&["-DNO_DESCRIPTOR", "-DEXTRA_EXPORTS"]),
        "plugin_no_descriptor: cannot load <dir>/p.so: has no section .im_bridge.adapter; \
         build it with export_adapter! or im_bridge_plugin.h"
    );
}

#[test]
fn every_wrong_field_of_the_descriptor_is_told() {
    assert_eq!(
        refused(&["-DNAME=\"Zoo\"", "-DVERSION=\"1.0\"", "-DMIN_HOST_MINOR=1"]),
        "plugin_descriptor: cannot load <dir>/p.so: descriptor field min_host_minor is 1; \
         expected at most the minor it was built for\n\
         plugin_descriptor: cannot load <dir>/p.so: descriptor field name is `Zoo`; \
         expected [a-z][a-z0-9-]{0,31}, zero-padded\n\
         plugin_descriptor: cannot load <dir>/p.so: descriptor field version is `1.0`; \
         expected a semantic version, zero-padded"
    );
}

#[test]
fn another_major_is_refused_before_anything_else_is_read() {
    assert_eq!(
        refused(&["-DMAJOR=2", "-DNAME=\"Zoo\""]),
        "plugin_abi_major: cannot load <dir>/p.so: speaks ABI 2.0, this bridge speaks 1.0; \
         use an adapter for ABI 1 or im-bridge for ABI 2"
    );
}

#[test]
fn a_newer_minor_is_refused_only_if_it_is_needed() {
    assert_eq!(
        refused(&["-DMINOR=3", "-DMIN_HOST_MINOR=2"]),
        "plugin_abi_minor: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): needs ABI 1.2 or later, \
         this bridge speaks 1.0; upgrade im-bridge"
    );
    let shop = Workshop::new();
    let newer = shop.load(&shop.plugin("p", &["-DMINOR=3"])).unwrap();
    assert_eq!(newer.minor, 0, "the lower of both");
}

#[test]
fn unknown_flags_are_refused_where_they_must_be_known() {
    assert_eq!(
        refused(&["-DFLAGS=(1u<<20|1u<<31)"]),
        "plugin_flags: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): sets descriptor flag bit 20, \
         unknown to this bridge; upgrade im-bridge\n\
         plugin_flags: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): sets descriptor flag bit 31, \
         unknown to this bridge; upgrade im-bridge"
    );
    let shop = Workshop::new();
    shop.load(&shop.plugin("p", &["-DFLAGS=(1u<<7)"])).unwrap();
}

#[test]
fn a_test_build_is_for_tests() {
    let shop = Workshop::new();
    let file = shop.plugin("p", &["-DFLAGS=IMB_DESC_TEST_HOOKS"]);
    assert_eq!(
        shop.refusal(&file),
        "plugin_test_build: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): is a test build; \
         build it without the SDK feature test-hooks"
    );
    let loader = Loader::new(shop.config()).unwrap().accepting_test_builds();
    loader.load(&file).unwrap();
}

#[test]
fn panic_abort_is_refused() {
    assert_eq!(
        refused(&["-DFLAGS=IMB_DESC_PANIC_ABORT"]),
        "plugin_panic_abort: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): is built with panic=abort, \
         one panic would end every account; use panic=unwind or plugins.providers.zoo.isolation = \"process\""
    );
}

#[test]
fn a_process_of_its_own_is_not_offered() {
    let sentence = "plugin_isolation: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): must run in a child process, \
                    which this build cannot do; upgrade im-bridge";
    assert_eq!(
        refused(&["-DFLAGS=IMB_DESC_PROCESS_ONLY|IMB_DESC_PANIC_ABORT"]),
        sentence
    );

    let shop = Workshop::new();
    let file = shop.plugin("p", NONE);
    let mut config = shop.config();
    let isolated = ProviderConfig {
        isolation: Some(Isolation::Process),
        ..ProviderConfig::default()
    };
    config.providers.insert("zoo".into(), isolated);
    let refusal = Loader::new(config).unwrap().load(&file).unwrap_err();
    assert_eq!(shop.told(&file, &refusal), sentence);
}

#[test]
fn only_the_entry_symbol_may_be_exported() {
    assert_eq!(
        refused(&["-DEXTRA_EXPORTS"]),
        "plugin_exports: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): exports 2 symbols \
         (helper_one, helper_two); export only im_bridge_adapter_v1"
    );
    assert_eq!(
        refused(&["-DNO_ENTRY", "-Wno-unused"]),
        "plugin_entry: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): entry field symbol is missing, \
         expected im_bridge_adapter_v1; rebuild it"
    );
}

#[test]
fn static_tls_is_refused() {
    assert_eq!(
        refused(&["-DSTATIC_TLS", "-ftls-model=initial-exec"]),
        "plugin_static_tls: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): uses static TLS (jemalloc's default); \
         switch that off or set plugins.providers.zoo.isolation = \"process\""
    );
    let shop = Workshop::new();
    shop.load(&shop.plugin("p", &["-DSTATIC_TLS"])).unwrap();
}

#[test]
fn an_unknown_library_is_refused_until_it_is_allowed() {
    let shop = Workshop::new();
    let source = shop.file(
        "other.c",
        "__attribute__((visibility(\"default\"))) int other(void) { return 0; }",
    );
    let library = shop.path().join("libother.so");
    build::compile(&source, &library, &["-Wl,-soname,libother.so.1"]);
    let file = shop.plugin("p", &["-DNEEDS_LIBRARY", library.to_str().unwrap()]);
    assert_eq!(
        shop.refusal(&file),
        "plugin_needs: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): needs libother.so.1; \
         link it statically or allow it under plugins.trust.libraries"
    );
    let mut config = shop.config();
    config.trust.libraries.insert("libother.so.1".into(), true);
    let loader = Loader::new(config).unwrap();
    assert_eq!(loader.examine(&file).refusal(), None);
    // It is nowhere the system loader looks.
    let refusal = loader.load(&file).unwrap_err();
    assert_eq!(
        shop.told(&file, &refusal),
        "plugin_dlopen: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): is refused by the system loader: \
         libother.so.1: cannot open shared object file: No such file or directory; \
         see im-bridge plugin inspect <dir>/p.so"
    );
}

#[test]
fn a_missing_symbol_is_named() {
    assert_eq!(
        refused(&["-DMISSING_FUNCTION"]),
        "plugin_dlopen: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): is refused by the system loader: \
         <dir>/stage/<sha256>.so: undefined symbol: missing_function; see im-bridge plugin inspect <dir>/p.so"
    );
}

#[test]
fn what_weakens_the_process_is_refused() {
    let hardening = |what: &str| {
        format!(
            "plugin_hardening: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): has {what}; link it without"
        )
    };
    let rpath = ["-Wl,-rpath,/opt/x", "-Wl,--disable-new-dtags"];
    assert_eq!(refused(&rpath), hardening("RPATH"));
    let runpath = ["-Wl,-rpath,/opt/x", "-Wl,--enable-new-dtags"];
    assert_eq!(refused(&runpath), hardening("RUNPATH"));
    assert_eq!(
        refused(&["-Wl,-z,execstack"]),
        hardening("an executable stack")
    );
}

#[test]
fn a_newer_c_library_is_asked_for_by_name() {
    let shop = Workshop::new();
    let bytes = std::fs::read(shop.plugin("p", &["-DUSES_LIBC"])).unwrap();
    let config = PluginsConfig::default();
    let problems = |host| {
        let rules = Rules {
            config: &config,
            test_builds: false,
            host_glibc: GlibcVersion::parse(host),
        };
        inspect(&bytes, rules).problems
    };
    assert_eq!(problems("99.0"), []);
    let [problem] = &problems("2.0")[..] else {
        panic!("one problem");
    };
    let text = problem.to_string();
    assert_eq!(problem.code(), "plugin_glibc");
    assert!(text.starts_with("needs GLIBC_2."), "{text}");
    assert!(
        text.ends_with(", this host has 2.0; build it on an older system"),
        "{text}"
    );
}

#[test]
fn everything_is_told_at_once() {
    let text = refused(&[
        "-DFLAGS=(1u<<20)",
        "-DEXTRA_EXPORTS",
        "-DSTATIC_TLS",
        "-ftls-model=initial-exec",
        "-Wl,-z,execstack",
    ]);
    let codes: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(
        codes,
        [
            "plugin_flags",
            "plugin_exports",
            "plugin_static_tls",
            "plugin_hardening"
        ]
    );
}
