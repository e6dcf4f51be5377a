//! Every type, constant and table that crosses the boundary, by the names of the C header without their prefix:
//! [`Event`] is `imb_event`, [`State::ONLINE`] is `IMB_STATE_ONLINE`.
//!
//! Reading order: `named` (integers with meaning), `values` (frozen structs), `records` (structs that grow), `tables`
//! (functions of both sides), `extensions`, then [`raw`] (reading what an older or newer side wrote), [`layout`] (what
//! each type is in C) and [`facts`] (all of it as text).

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the plugin ABI is defined for 64-bit targets only");

mod extensions;
pub mod facts;
pub mod layout;
mod named;
pub mod raw;
mod records;
mod tables;
mod values;

pub use extensions::*;
pub use named::*;
pub use records::*;
pub use tables::*;
pub use values::*;

/// Major version spoken: another one has another entry symbol.
pub const ABI_MAJOR: u16 = 1;
/// Minor version spoken: both sides use the lower one.
pub const ABI_MINOR: u16 = 0;
/// First bytes of [`Descriptor`] and [`Entry`].
pub const MAGIC: [u8; 8] = *b"IMBRIDGE";
/// The only symbol that a plugin exports.
pub const ENTRY_SYMBOL: &str = "im_bridge_adapter_v1";
/// The section that holds the [`Descriptor`].
pub const DESCRIPTOR_SECTION: &str = ".im_bridge.adapter";
/// Most elements in one array argument.
pub const BATCH_MAX: u32 = 1024;
/// Most bytes in an event payload, a command body or a completion body.
pub const PAYLOAD_MAX: u32 = 1_048_576;
