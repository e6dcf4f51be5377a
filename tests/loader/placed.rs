//! Where a file lies: who may write there, what is accepted as a file, pins, copies.

use super::{NONE, Workshop, skip};
use im_bridge::loader::config::{Place, Require, StageMode};
use im_bridge::loader::{Loader, Refusal};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn a_file_that_everyone_can_replace_is_refused() {
    let shop = Workshop::new();
    let folder = shop.path().join("plugins");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("p.so");
    std::fs::copy(shop.plugin("p", NONE), &file).unwrap();
    chmod(&file, 0o646);
    chmod(&folder, 0o777);
    assert_eq!(
        shop.refusal(&file),
        "plugin_writable: cannot load <dir>/plugins/p.so: <dir>/plugins/p.so has mode 0646: \
         everyone can replace the plugin; chmod o-w <dir>/plugins/p.so\n\
         plugin_writable: cannot load <dir>/plugins/p.so: <dir>/plugins has mode 0777: \
         everyone can replace the plugin; chmod o-w <dir>/plugins"
    );
    chmod(&file, 0o644);
    chmod(&folder, 0o1777);
    shop.load(&file)
        .expect("in a sticky folder only the owner replaces it");
}

#[test]
fn a_bad_place_may_only_warn() {
    let shop = Workshop::new();
    let file = shop.plugin("p", NONE);
    chmod(&file, 0o666);
    let mut config = shop.config();
    config.trust.place = Place::Warn;
    let loader = Loader::new(config).unwrap();
    let warnings = loader.examine(&file).warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.code() == "plugin_writable")
    );
    loader.load(&file).unwrap();
}

#[test]
fn a_foreign_owner_or_group_is_refused() {
    let shop = Workshop::new();
    let file = shop.plugin("p", NONE);
    if own_uid() != 0 || chown(&file, Some(4242), Some(4343)).is_err() {
        skip("files of other users can only be made by root");
        return;
    }
    chmod(&file, 0o664);
    assert_eq!(
        shop.refusal(&file),
        "plugin_owner: cannot load <dir>/p.so: <dir>/p.so is owned by uid 4242; \
         it must be owned by root or uid 0, the user of im-bridge\n\
         plugin_writable: cannot load <dir>/p.so: <dir>/p.so has mode 0664: group 4343 can replace the plugin; \
         chmod g-w <dir>/p.so"
    );
}

#[test]
fn only_files_are_plugins() {
    let shop = Workshop::new();
    let folder = shop.path().join("folder.so");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(
        shop.refusal(&folder),
        "plugin_not_a_file: cannot load <dir>/folder.so: is a directory; put the .so file itself there"
    );
    let socket = shop.path().join("socket.so");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(
        shop.refusal(&socket),
        "plugin_not_a_file: cannot load <dir>/socket.so: is a socket; put the .so file itself there"
    );
    let pipe = shop.path().join("pipe.so");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert_eq!(
        shop.refusal(&pipe),
        "plugin_not_a_file: cannot load <dir>/pipe.so: is a pipe; put the .so file itself there"
    );
    let refusal = shop.load(Path::new("/dev/null")).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "cannot load /dev/null: is a device; put the .so file itself there"
    );
}

#[test]
fn a_file_that_is_not_there_cannot_be_read() {
    let shop = Workshop::new();
    assert_eq!(
        shop.refusal(&shop.path().join("none.so")),
        format!(
            "plugin_unreadable: cannot load <dir>/none.so: cannot be read: No such file or directory (os error 2); \
             make it readable for uid {}",
            own_uid()
        )
    );
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let shop = Workshop::new();
    let file = shop.file("p.so", "");
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len((3 << 20) + 1)
        .unwrap();
    let mut config = shop.config();
    config.max_file_mib = 3;
    let refusal = Loader::new(config).unwrap().load(&file).unwrap_err();
    assert_eq!(
        shop.told(Path::new(""), &refusal),
        "plugin_too_large: cannot load <dir>/p.so: has 4 MiB, plugins.max_file_mib is 3; raise it if this is meant"
    );
}

#[test]
fn a_copy_needs_a_private_folder_that_allows_execution() {
    let shop = Workshop::new();
    let file = shop.plugin("p", &["-DNAME=\"copied\""]);
    let mut config = shop.config();
    config.stage_dir = shop.file("stage", "");
    let refusal = Loader::new(config.clone())
        .unwrap()
        .load(&file)
        .unwrap_err();
    assert_eq!(
        shop.told(&file, &refusal),
        "plugin_stage: cannot load copied 1.0.0 (<dir>/p.so, sha256 <sha>): cannot be copied to <dir>/stage: \
         File exists (os error 17); set plugins.stage_dir or plugins.stage"
    );

    let noexec = tempfile::tempdir_in("/dev/shm")
        .ok()
        .filter(|_| is_noexec("/dev/shm"));
    match noexec {
        Some(folder) => {
            config.stage_dir = folder.path().into();
            let refusal = Loader::new(config.clone())
                .unwrap()
                .load(&file)
                .unwrap_err();
            let text = shop
                .told(&file, &refusal)
                .replace(folder.path().to_str().unwrap(), "<shm>");
            assert_eq!(
                text,
                "plugin_stage: cannot load copied 1.0.0 (<dir>/p.so, sha256 <sha>): cannot be copied to <shm>: \
                 mounted noexec; set plugins.stage_dir or plugins.stage"
            );
        }
        None => skip("no folder mounted noexec to write to"),
    }

    config.stage = StageMode::Auto;
    let loaded = Loader::new(config).unwrap().load(&file).unwrap();
    assert_eq!(loaded.provider, "copied", "from a memory file");
}

fn is_noexec(mount: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(mount)
            && fields
                .nth(1)
                .is_some_and(|options| options.split(',').any(|o| o == "noexec"))
    })
}

#[test]
fn what_is_not_pinned_is_refused_and_a_pin_outweighs_the_place() {
    let shop = Workshop::new();
    let file = shop.plugin("p", &["-DVERSION=\"1.0.1\""]);
    chmod(&file, 0o666);
    let mut config = shop.config();
    config.trust.require = Require::Pin;
    let refused: Refusal = Loader::new(config.clone())
        .unwrap()
        .load(&file)
        .unwrap_err();
    assert_eq!(
        shop.told(&file, &refused),
        "plugin_not_pinned: cannot load <dir>/p.so: sha256 <sha256> is not pinned; \
         run im-bridge plugin pin <dir>/p.so, or set plugins.trust.require"
    );
    let hash = im_bridge::loader::Sha256::of(&std::fs::read(&file).unwrap());
    config
        .trust
        .pins
        .insert(hash.to_string(), "zoo 1.0.1".into());
    Loader::new(config.clone()).unwrap().load(&file).unwrap();

    config.trust.pins.clear();
    config.trust.lock_file = shop.file("lock.toml", format!("[pins]\n{hash} = \"zoo 1.0.1\"\n"));
    Loader::new(config).unwrap().load(&file).unwrap();
}

#[test]
fn links_are_followed_to_the_place_that_counts() {
    let shop = Workshop::new();
    let file = shop.plugin("p", &["-DVERSION=\"1.0.2\""]);
    let link = shop.path().join("link.so");
    symlink(&file, &link).unwrap();
    shop.load(&link).unwrap();
    chmod(&file, 0o666);
    assert!(shop.refusal(&link).contains("<dir>/p.so has mode 0666"));
}
