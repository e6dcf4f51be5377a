//! Makes a plugin of an adapter: descriptor, entry function, tables.
//!
//! The descriptor is a constant in a section of its own, because the core reads it before any code of the plugin runs.
//! Whatever is wrong with it (a provider id that is none, a version that is too long) is found by the compiler.
//!
//! Not here: what the table's functions do (`ffi::entries`).

use crate::Adapter;
use crate::engine::threads::SharedThreads;
use crate::ffi::describe::Described;
use im_bridge_plugin_api::abi;
use std::sync::OnceLock;

/// Where the instances of a plugin live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Each on a thread of its own.
    Own,
    /// All on this many threads, for providers with hundreds of accounts. One account that blocks then stops others.
    Shared(u8),
}

/// In which process a plugin may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// In the core's own, or in a child.
    Any,
    /// In a child only.
    Process,
}

/// An adapter with what its crate knows about it. Implemented by [`export_adapter!`](crate::export_adapter).
#[doc(hidden)]
pub trait Exported: Adapter {
    const PACKAGE: &'static str;
    const VERSION: &'static str;
    const RUNTIME: Runtime;
    const ISOLATION: Isolation;
    const PANICS_ABORT: bool;
    fn statics() -> &'static Statics;
}

/// What a plugin has once per process.
#[doc(hidden)]
pub struct Statics {
    pub(crate) described: OnceLock<Described>,
    pub(crate) threads: SharedThreads,
}

impl Statics {
    #[must_use]
    #[allow(clippy::new_without_default, reason = "only statics are made of it")]
    pub const fn new() -> Self {
        Self {
            described: OnceLock::new(),
            threads: SharedThreads::new(),
        }
    }
}

/// The entry function of an adapter, for a host that is linked with it.
#[must_use]
pub fn entry<A: Exported>() -> abi::EntryFn {
    crate::ffi::entries::entry::<A>
}

/// Flags of descriptor and entry.
pub(crate) const fn flags<A: Exported>() -> u32 {
    let mut flags = 0;
    if cfg!(feature = "test-hooks") {
        flags |= abi::DESC_TEST_HOOKS;
    }
    if A::PANICS_ABORT {
        flags |= abi::DESC_PANIC_ABORT;
    }
    if matches!(A::ISOLATION, Isolation::Process) {
        flags |= abi::DESC_PROCESS_ONLY;
    }
    flags
}

/// The descriptor; evaluated by the compiler.
#[doc(hidden)]
#[must_use]
pub const fn descriptor<A: Exported>() -> abi::Descriptor {
    assert!(
        is_provider_id(A::PROVIDER),
        "PROVIDER must be [a-z][a-z0-9-]{{0,31}}"
    );
    abi::Descriptor {
        magic: abi::MAGIC,
        size: 256,
        major: abi::ABI_MAJOR,
        minor: abi::ABI_MINOR,
        flags: flags::<A>(),
        min_host_minor: 0,
        name: padded(A::PROVIDER, "PROVIDER has more than 48 bytes"),
        version: padded(A::VERSION, "the package's version has more than 32 bytes"),
        target: padded(
            env!("IM_BRIDGE_SDK_TARGET"),
            "the target triple has more than 48 bytes",
        ),
        toolchain: padded(TOOLCHAIN, "the toolchain's name has more than 64 bytes"),
        reserved: [0; 40],
    }
}

const TOOLCHAIN: &str = concat!(
    env!("IM_BRIDGE_SDK_RUSTC"),
    " sdk ",
    env!("CARGO_PKG_VERSION")
);

const fn is_provider_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    if bytes.is_empty() || bytes.len() > 32 || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut at = 1;
    while at < bytes.len() {
        let byte = bytes[at];
        if !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return false;
        }
        at += 1;
    }
    true
}

/// Text in a field of fixed length, zeros behind it. A full field has no zero.
const fn padded<const N: usize>(text: &str, too_long: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() <= N, "{}", too_long);
    let mut field = [0; N];
    let mut at = 0;
    while at < bytes.len() {
        field[at] = bytes[at];
        at += 1;
    }
    field
}

/// What the entry function of a plugin does. The descriptor is looked at so that no linker leaves it out as unused.
#[doc(hidden)]
#[must_use]
pub fn enter<A: Exported>(
    host_minor: u32,
    descriptor: &'static abi::Descriptor,
) -> *const abi::Entry {
    if std::hint::black_box(descriptor).min_host_minor > host_minor {
        return std::ptr::null();
    }
    crate::ffi::entries::entry_table::<A>()
}

/// Makes a plugin of a type that implements [`Adapter`]; once per crate.
///
/// * `export_adapter!(Type)`: each account on a thread of its own.
/// * `export_adapter!(Type, runtime = Shared(2))`: all accounts on two threads.
/// * `export_adapter!(Type, isolation = Process)`: runs in a child process only, which a build with `panic = "abort"`
///   must say.
#[macro_export]
macro_rules! export_adapter {
    ($adapter:ty $(, $key:ident = $value:ident $(($($arg:tt)*))?)* $(,)?) => {
        $crate::declare_adapter!($adapter $(, $key = $value $(($($arg)*))?)*);

        const _: () = {
            #[used]
            #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__im_bridge"))]
            #[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".im_bridge.adapter"))]
            static DESCRIPTOR: $crate::abi::Descriptor =
                $crate::export::descriptor::<$adapter>();

            #[unsafe(no_mangle)]
            extern "C" fn im_bridge_adapter_v1(host_minor: u32) -> *const $crate::abi::Entry {
                $crate::export::enter::<$adapter>(host_minor, &DESCRIPTOR)
            }
        };
    };
}

/// As [`export_adapter!`](crate::export_adapter) without the exported symbol: for tests that hold several adapters in
/// one program and enter them by [`entry`].
#[macro_export]
macro_rules! declare_adapter {
    ($adapter:ty $(, $key:ident = $value:ident $(($($arg:tt)*))?)* $(,)?) => {
        impl $crate::export::Exported for $adapter {
            const PACKAGE: &'static str = env!("CARGO_PKG_NAME");
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
            const RUNTIME: $crate::export::Runtime =
                $crate::__adapter_option!(runtime $([$key $value $(($($arg)*))?])*);
            const ISOLATION: $crate::export::Isolation =
                $crate::__adapter_option!(isolation $([$key $value $(($($arg)*))?])*);
            const PANICS_ABORT: bool = cfg!(panic = "abort");

            fn statics() -> &'static $crate::export::Statics {
                static STATICS: $crate::export::Statics = $crate::export::Statics::new();
                &STATICS
            }
        }

        const _: () = {
            $($crate::__adapter_option!(known $key);)*
            assert!(
                $crate::export::may_abort::<$adapter>(),
                "panic = \"abort\" would end every account at the first panic; use panic = \"unwind\" or isolation = Process"
            );
        };
    };
}

/// A build with `panic = "abort"` needs a process of its own.
#[doc(hidden)]
#[must_use]
pub const fn may_abort<A: Exported>() -> bool {
    !A::PANICS_ABORT || matches!(A::ISOLATION, Isolation::Process)
}

/// Finds one option among those given, each a group `[key value (arguments)]`.
#[doc(hidden)]
#[macro_export]
macro_rules! __adapter_option {
    (known runtime) => {};
    (known isolation) => {};
    (known $other:ident) => {
        compile_error!(concat!(
            "unknown option `",
            stringify!($other),
            "`; use runtime = Own | Shared(n) or isolation = Any | Process"
        ));
    };
    (runtime) => { $crate::export::Runtime::Own };
    (runtime [runtime $($value:tt)*] $($rest:tt)*) => { $crate::export::Runtime::$($value)* };
    (isolation) => { $crate::export::Isolation::Any };
    (isolation [isolation $($value:tt)*] $($rest:tt)*) => {
        $crate::export::Isolation::$($value)*
    };
    ($wanted:ident [$($other:tt)*] $($rest:tt)*) => {
        $crate::__adapter_option!($wanted $($rest)*)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_ids_are_checked() {
        for good in ["a", "goofish", "sim-2"] {
            assert!(is_provider_id(good), "{good}");
        }
        let long = "a".repeat(33);
        for bad in ["", "Sim", "2sim", "sim_2", "ö", long.as_str()] {
            assert!(!is_provider_id(bad), "{bad}");
        }
    }

    #[test]
    fn text_is_padded_with_zeros() {
        assert_eq!(padded::<4>("ab", ""), *b"ab\0\0");
        assert_eq!(padded::<2>("ab", ""), *b"ab");
    }

    #[test]
    #[should_panic(expected = "too long")]
    fn text_that_does_not_fit_is_refused() {
        let _ = padded::<1>("ab", "too long");
    }
}
