//! The whole contract as text: one line for each fact that the two sides must agree on.
//!
//! `layout.snapshot` is this text, committed; the header's test turns every line into an assertion. Types and values
//! come from the definitions themselves, so that nothing can be forgotten here but a plain constant, which the
//! comparison with the header finds.
//!
//! Not here: what the facts mean, and which changes are allowed; the crate's tests know that rule.

use super::layout::{CType, Struct};
use super::{EntryFn, extensions, named, records, tables, values};
use core::fmt::{Result, Write};

/// Constants that are numbers.
const NUMBERS: &[(&str, i128)] = &[
    ("IMB_ABI_MAJOR", super::ABI_MAJOR as i128),
    ("IMB_ABI_MINOR", super::ABI_MINOR as i128),
    ("IMB_BATCH_MAX", super::BATCH_MAX as i128),
    ("IMB_PAYLOAD_MAX", super::PAYLOAD_MAX as i128),
    ("IMB_DESC_TEST_HOOKS", super::DESC_TEST_HOOKS as i128),
    ("IMB_DESC_PANIC_ABORT", super::DESC_PANIC_ABORT as i128),
    ("IMB_DESC_PROCESS_ONLY", super::DESC_PROCESS_ONLY as i128),
    ("IMB_CMD_REDELIVERED", super::CMD_REDELIVERED as i128),
    ("IMB_KV_ANY", super::KV_ANY as i128),
    ("IMB_KV_SECRET", super::KV_SECRET as i128),
];

/// Constants that are text.
const TEXTS: &[(&str, &str)] = &[
    ("IMB_ENTRY_SYMBOL", super::ENTRY_SYMBOL),
    ("IMB_DESCRIPTOR_SECTION", super::DESCRIPTOR_SECTION),
    ("IMB_EXT_KV", super::EXT_KV),
    ("IMB_EXT_METRICS", super::EXT_METRICS),
    ("IMB_EXT_CLOCK", super::EXT_CLOCK),
    ("IMB_EXT_VERIFY", super::EXT_VERIFY),
    ("IMB_EXT_WEBHOOK", super::EXT_WEBHOOK),
];

/// Every struct of the boundary that is not opaque.
pub fn structs() -> impl Iterator<Item = &'static Struct> {
    [
        values::STRUCTS,
        records::STRUCTS,
        tables::STRUCTS,
        extensions::STRUCTS,
    ]
    .into_iter()
    .flatten()
}

/// Writes every fact, each on a line of its own.
///
/// The forms are `NAME = value`, `type opaque`, `name type T`, `struct size N align N` and
/// `struct.field offset N type T`.
///
/// # Errors
/// Only those of `out`.
pub fn write(out: &mut dyn Write) -> Result {
    for (name, value) in NUMBERS {
        writeln!(out, "{name} = {value}")?;
    }
    for (name, value) in TEXTS {
        writeln!(out, "{name} = {value:?}")?;
    }
    writeln!(out, "IMB_MAGIC = \"{}\"", super::MAGIC.escape_ascii())?;
    named::each_value(&mut |name, value| writeln!(out, "{name} = {value}"))?;

    out.write_str("imb_status type ")?;
    i32::c_type(out)?;
    out.write_str("\nimb_instance opaque\n")?;
    write!(out, "{} type ", super::ENTRY_SYMBOL)?;
    <Option<EntryFn>>::c_type(out)?;
    out.write_str("\n")?;

    for of in structs() {
        writeln!(out, "{} size {} align {}", of.name, of.size, of.align)?;
        for field in of.fields {
            write!(
                out,
                "{}.{} offset {} type ",
                of.name, field.name, field.offset
            )?;
            (field.c_type)(out)?;
            out.write_str("\n")?;
        }
    }
    Ok(())
}
