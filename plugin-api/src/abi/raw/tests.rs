//! Both sides of a version gap: structs, tables and arrays whose writer is one minor older or newer. Fit for Miri.

extern crate std;

use super::*;
use crate::abi::layout::c_struct;
use crate::abi::{CMD_REDELIVERED, KV_SECRET, Label, Pair, Str, Trace};
use core::ptr;

/// A flag bit that no minor defines and that must be known.
const HIGH: u32 = 1 << 31;
/// A flag bit that no minor defines and that may be ignored.
const LOW: u32 = 1 << 15;

c_struct! {
    /// A record as 1.0 had it.
    struct Old = "imb_test_record" {
        size: u32,
        flags: u32,
        id: u64,
    }

    /// The same as this side knows it: 1.1 appended a field.
    struct New = "imb_test_record" {
        size: u32,
        flags: u32,
        id: u64,
        added: Str,
    }

    /// A table as 1.0 had it.
    struct OldTable = "imb_test_table" {
        size: u32,
        reserved: u32,
        first: Option<unsafe extern "C" fn(u64) -> u64>,
    }

    /// The same as this side knows it: 1.1 appended a function.
    struct NewTable = "imb_test_table" {
        size: u32,
        reserved: u32,
        first: Option<unsafe extern "C" fn(u64) -> u64>,
        second: Option<unsafe extern "C" fn(u64) -> u64>,
    }
}
// SAFETY: integers, a raw pointer, optional functions: zeros are valid; `size` comes first.
unsafe impl Grows for New {
    const SIZE_1_0: usize = 16;
    fn flags(&self) -> u32 {
        self.flags
    }
}
// SAFETY: as above.
unsafe impl Grows for NewTable {
    const SIZE_1_0: usize = 16;
}
// SAFETY: as above.
unsafe impl Grows for Old {
    const SIZE_1_0: usize = 16;
}

unsafe extern "C" fn double(n: u64) -> u64 {
    n * 2
}

/// A command as the next minor may write it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Longer {
    known: Command,
    added: [u64; 2],
}

fn command(id: u64) -> Command {
    Command {
        size: Command::SIZE,
        flags: CMD_REDELIVERED,
        id,
        deadline_ms: 1,
        name: Str::new("message.send"),
        channel: Str::EMPTY,
        idempotency_key: Str::new("k"),
        body: Str::new("{}"),
        trace: Trace::NONE,
    }
}

fn longer(id: u64) -> Longer {
    let mut known = command(id);
    known.size = u32::try_from(size_of::<Longer>()).unwrap();
    Longer {
        known,
        added: [u64::MAX; 2],
    }
}

/// The ids taken, and the error that ended the walk.
fn walk(first: *const Command, n: usize, known_flags: u32) -> (std::vec::Vec<u64>, Option<Status>) {
    let mut ids = std::vec::Vec::new();
    // SAFETY: each test hands over an array that it owns, with `n` elements of the first one's size.
    match unsafe { elements(first, u32::try_from(n).unwrap(), known_flags) } {
        Err(refused) => return (ids, Some(refused)),
        Ok(elements) => {
            for element in elements {
                match element {
                    Ok(command) => ids.push(command.id),
                    Err(refused) => return (ids, Some(refused)),
                }
            }
        }
    }
    (ids, None)
}

#[test]
fn a_struct_of_the_own_minor_is_read_whole() {
    let sent = command(7);
    // SAFETY: a live struct of its own size.
    let got = unsafe { read(&raw const sent) }.unwrap();
    assert_eq!(got.id, 7);
    // SAFETY: the text is a literal.
    assert_eq!(unsafe { got.name.bytes() }, b"message.send");
}

#[test]
fn a_struct_of_an_older_minor_is_filled_up_with_zeros() {
    let sent = Old {
        size: Old::SIZE,
        flags: 3,
        id: 9,
    };
    // SAFETY: readable for as many bytes as its size says.
    let got = unsafe { read::<New>((&raw const sent).cast()) }.unwrap();
    assert_eq!((got.flags, got.id), (3, 9));
    assert!(got.added.ptr.is_null() && got.added.len == 0);
}

#[test]
fn a_struct_of_a_newer_minor_is_cut_to_what_this_side_knows() {
    let sent = longer(8);
    // SAFETY: readable for as many bytes as its size says.
    let got = unsafe { read::<Command>((&raw const sent).cast()) }.unwrap();
    assert_eq!(got.id, 8);

    let sent = New {
        size: New::SIZE,
        flags: 0,
        id: 10,
        added: Str::new("not known to the older side"),
    };
    // SAFETY: as above.
    let got = unsafe { read::<Old>((&raw const sent).cast()) }.unwrap();
    assert_eq!(got.id, 10);
}

#[test]
fn a_size_below_1_0_or_no_multiple_of_8_is_refused() {
    for size in [
        0,
        4,
        8,
        Command::SIZE - 8,
        Command::SIZE - 1,
        Command::SIZE + 4,
    ] {
        let mut sent = longer(1);
        sent.known.size = size;
        // SAFETY: readable for more bytes than its size says.
        let got = unsafe { read::<Command>((&raw const sent).cast()) };
        assert_eq!(got.err(), Some(Status::E_INVALID), "size {size}");
    }
}

#[test]
fn a_struct_that_ends_before_its_1_0_size_is_not_read_further_than_its_size_field() {
    // Only the size field is there: Miri would tell if more were read.
    let sent: [u64; 1] = [16];
    // SAFETY: the size field is readable.
    let got = unsafe { read::<Command>(sent.as_ptr().cast()) };
    assert_eq!(got.err(), Some(Status::E_INVALID));
}

#[test]
fn null_and_misaligned_structs_are_refused() {
    let sent = [command(1), command(2)];
    // SAFETY: null is allowed.
    let null = unsafe { read::<Command>(ptr::null()) };
    assert_eq!(null.err(), Some(Status::E_INVALID));
    // SAFETY: the address is refused before anything is read.
    let odd = unsafe { read::<Command>(sent.as_ptr().cast::<u8>().add(4).cast()) };
    assert_eq!(odd.err(), Some(Status::E_INVALID));
    assert_eq!(walk(ptr::null(), 1, 0).1, Some(Status::E_INVALID));
}

#[test]
fn the_functions_that_an_older_table_lacks_are_none() {
    let sent = OldTable {
        size: Old::SIZE,
        reserved: 0,
        first: Some(double),
    };
    // SAFETY: readable for as many bytes as its size says.
    let got = unsafe { read::<NewTable>((&raw const sent).cast()) }.unwrap();
    // SAFETY: `double` accepts everything.
    assert_eq!(unsafe { got.first.unwrap()(21) }, 42);
    assert!(got.second.is_none());
}

#[test]
fn the_entry_is_read_by_the_size_behind_its_magic() {
    let mut sent = Entry {
        magic: crate::abi::MAGIC,
        size: Entry::SIZE,
        major: 1,
        minor: 0,
        flags: HIGH,
        reserved: 0,
        name: Str::new("sim"),
        version: Str::new("1.0.0"),
        describe: None,
        adapter: ptr::null(),
    };
    // SAFETY: a live struct of its own size.
    unsafe {
        assert_eq!(read(&raw const sent).unwrap().major, 1);
        let refused = read_flagged(&raw const sent, 0);
        assert_eq!(refused.err(), Some(Status::E_UNSUPPORTED));
        sent.size = 64;
        assert_eq!(read(&raw const sent).err(), Some(Status::E_INVALID));
    }
}

#[test]
fn an_unknown_high_flag_is_refused_and_an_unknown_low_one_ignored() {
    let mut sent = command(1);
    sent.flags = LOW;
    // SAFETY: a live struct of its own size.
    assert!(unsafe { read_flagged(&raw const sent, 0) }.is_ok());
    sent.flags = KV_SECRET;
    // SAFETY: as above.
    assert!(unsafe { read_flagged(&raw const sent, KV_SECRET) }.is_ok());
    // SAFETY: as above.
    let refused = unsafe { read_flagged(&raw const sent, HIGH) };
    assert_eq!(refused.err(), Some(Status::E_UNSUPPORTED));
}

#[test]
fn an_array_is_walked_from_front_to_back() {
    let sent = [command(1), command(2), command(3)];
    assert_eq!(
        walk(sent.as_ptr(), 3, CMD_REDELIVERED),
        (std::vec![1, 2, 3], None)
    );
}

#[test]
fn longer_elements_are_walked_with_their_own_stride() {
    let sent = [longer(1), longer(2), longer(3)];
    assert_eq!(walk(sent.as_ptr().cast(), 3, 0), (std::vec![1, 2, 3], None));
}

#[test]
fn shorter_elements_are_walked_with_their_own_stride() {
    let sent = [1, 2].map(|id| Old {
        size: Old::SIZE,
        flags: 0,
        id,
    });
    // SAFETY: two elements of the first one's size.
    let got = unsafe { elements::<New>(sent.as_ptr().cast(), 2, 0) }.unwrap();
    let ids: std::vec::Vec<u64> = got.map(|element| element.unwrap().id).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn an_unknown_high_flag_ends_the_walk_and_what_came_before_counts() {
    let mut sent = [command(1), command(2), command(3)];
    sent[0].flags = LOW;
    sent[1].flags = HIGH;
    assert_eq!(
        walk(sent.as_ptr(), 3, CMD_REDELIVERED),
        (std::vec![1], Some(Status::E_UNSUPPORTED))
    );
    // After the error nothing more comes, not even the third element.
    // SAFETY: three elements of the first one's size.
    let got = unsafe { elements(sent.as_ptr(), 3, 0) }.unwrap();
    assert_eq!(got.count(), 2);
}

#[test]
fn an_element_of_another_size_ends_the_walk() {
    let mut sent = [longer(1), longer(2), longer(3)];
    sent[2].known.size = Command::SIZE;
    assert_eq!(
        walk(sent.as_ptr().cast(), 3, 0),
        (std::vec![1, 2], Some(Status::E_INVALID))
    );
    sent[0].known.size = 8;
    assert_eq!(
        walk(sent.as_ptr().cast(), 3, 0),
        (std::vec![], Some(Status::E_INVALID))
    );
}

#[test]
fn no_element_and_more_than_a_batch_are_refused_before_anything_is_read() {
    let most = usize::try_from(BATCH_MAX).unwrap();
    for n in [0, most + 1] {
        assert_eq!(
            walk(ptr::null(), n, 0),
            (std::vec![], Some(Status::E_INVALID))
        );
    }
    let sent = std::vec![command(5); most];
    assert_eq!(walk(sent.as_ptr(), most, 0).0.len(), most);
}

#[test]
fn a_slice_is_empty_refused_or_as_long_as_told() {
    let pair = Pair {
        key: Str::new("k"),
        value: Str::new("v"),
    };
    let sent = [pair; 3];
    // SAFETY: each call names memory that lives here, or what is refused or empty before anything is read.
    unsafe {
        assert!(slice::<Pair>(ptr::null(), 0, 8).unwrap().is_empty());
        assert_eq!(slice(sent.as_ptr(), 3, 3).unwrap().len(), 3);
        assert_eq!(slice(sent.as_ptr(), 3, 2).err(), Some(Status::E_INVALID));
        let null = slice::<Label>(ptr::null(), 1, 8);
        assert_eq!(null.err(), Some(Status::E_INVALID));
        let odd = slice::<u16>(sent.as_ptr().cast::<u8>().add(1).cast(), 1, 8);
        assert_eq!(odd.err(), Some(Status::E_INVALID));
    }
}

#[test]
fn each_struct_with_a_size_is_one_that_grows() {
    assert!(STRUCTS.iter().all(crate::abi::layout::Struct::grows));
}
