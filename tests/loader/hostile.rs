//! Bytes from nowhere: always an answer, never a panic.

use super::{NONE, Workshop};
use im_bridge::loader::PluginsConfig;
use im_bridge::loader::inspect::descriptor::Descriptor;
use im_bridge::loader::inspect::glibc::GlibcVersion;
use im_bridge::loader::inspect::{Inspection, Rules, inspect};

fn look(bytes: &[u8]) -> Inspection {
    let config = PluginsConfig::default();
    let rules = Rules {
        config: &config,
        test_builds: false,
        host_glibc: GlibcVersion::parse("2.36"),
    };
    let inspection = inspect(bytes, rules);
    let is_judged = inspection.descriptor.is_some() && inspection.elf.is_some();
    assert!(
        is_judged || !inspection.problems.is_empty(),
        "refused for a reason, or read"
    );
    for problem in &inspection.problems {
        assert!(!problem.to_string().contains(char::is_control), "{problem}");
    }
    inspection
}

fn seeded() -> fastrand::Rng {
    let seed = std::env::var("IM_BRIDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("IM_BRIDGE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn any_bytes_end_in_an_answer() {
    let mut rng = seeded();
    for _ in 0..2_000 {
        let mut bytes: Vec<u8> = (0..rng.usize(..600)).map(|_| rng.u8(..)).collect();
        look(&bytes);
        // The same with a beginning that leads further in.
        let header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0";
        let shared = header.len().min(bytes.len());
        bytes[..shared].copy_from_slice(&header[..shared]);
        look(&bytes);
        let _ = Descriptor::read(&bytes);
    }
}

#[test]
fn a_plugin_with_changed_bytes_ends_in_an_answer() {
    let mut rng = seeded();
    let good = std::fs::read(Workshop::new().plugin("p", NONE)).unwrap();
    assert_eq!(look(&good).problems, []);
    let headers = usize::from_le_bytes(good[40..48].try_into().unwrap());
    for _ in 0..10_000 {
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..6) {
            // Most of the file is padding: aim at the two tables of headers.
            let at = match rng.u8(..3) {
                0 => rng.usize(..bytes.len()),
                1 => rng.usize(..0x400),
                _ => rng.usize(headers..bytes.len()),
            };
            bytes[at] = match rng.u8(..3) {
                0 => 0xff,
                1 => bytes[at] ^ (1 << rng.u8(..8)),
                _ => rng.u8(..),
            };
        }
        if rng.u8(..8) == 0 {
            bytes.truncate(rng.usize(..bytes.len()));
        }
        look(&bytes);
    }
}

#[test]
fn a_descriptor_with_changed_bytes_is_read_or_refused_by_field() {
    let mut rng = seeded();
    let mut good = [0; 256];
    good[..8].copy_from_slice(b"IMBRIDGE");
    good[8..14].copy_from_slice(&[0, 1, 0, 0, 1, 0]);
    good[24..27].copy_from_slice(b"zoo");
    good[72..77].copy_from_slice(b"1.0.0");
    assert!(Descriptor::read(&good).is_ok());
    for _ in 0..10_000 {
        let mut bytes = good;
        for _ in 0..rng.usize(1..4) {
            bytes[rng.usize(..256)] = rng.u8(..);
        }
        if let Err(problems) = Descriptor::read(&bytes) {
            assert!(!problems.is_empty());
        }
    }
}
