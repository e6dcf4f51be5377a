//! Facts about the types of the boundary, told by the types themselves: C name, size, offsets, the types of fields.
//!
//! A struct is declared once, by `c_struct!`, and thereby known to [`super::facts`], the snapshot and the proof of the
//! header. A Rust type without a C spelling does not compile as a field.

use core::ffi::c_void;
use core::fmt::{Result, Write};

/// A type that may stand in a declaration at the boundary.
pub trait CType {
    /// The C spelling ends in a star, so that what follows it needs no blank.
    const IS_POINTER: bool = false;

    /// Writes the type as the C header spells it, for example `const imb_pair *`.
    fn c_type(out: &mut dyn Write) -> Result;
}

/// A struct of the boundary with its fields.
pub trait Layout: CType + Sized {
    /// Name in the C header.
    const C_NAME: &'static str;
    /// In order of their offsets.
    const FIELDS: &'static [Field];
}

/// One field of a [`Layout`].
pub struct Field {
    /// Name, the same in C and Rust.
    pub name: &'static str,
    /// Distance from the start of the struct in bytes.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Writes the field's type.
    pub c_type: fn(&mut dyn Write) -> Result,
}

/// A struct of the boundary, its type forgotten.
pub struct Struct {
    /// Name in the C header.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Bytes.
    pub align: usize,
    /// In order of their offsets.
    pub fields: &'static [Field],
}

impl Struct {
    /// The facts of `T`.
    #[must_use]
    pub const fn of<T: Layout>() -> Self {
        Self {
            name: T::C_NAME,
            size: size_of::<T>(),
            align: align_of::<T>(),
            fields: T::FIELDS,
        }
    }

    /// Later minors may append to it: it tells its size.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.fields.iter().any(|field| field.name == "size")
    }
}

macro_rules! c_names {
    ($($rust:ty => $c:literal,)+) => {
        $(impl CType for $rust {
            fn c_type(out: &mut dyn Write) -> Result { out.write_str($c) }
        })+
    };
}
c_names! {
    c_void => "void", u8 => "uint8_t", u16 => "uint16_t", u32 => "uint32_t", u64 => "uint64_t", usize => "size_t",
    i16 => "int16_t", i32 => "int32_t", i64 => "int64_t", f64 => "double",
}

impl<T: CType, const N: usize> CType for [T; N] {
    fn c_type(out: &mut dyn Write) -> Result {
        T::c_type(out)?;
        write!(out, "[{N}]")
    }
}

/// A star follows a star without a blank, as in `imb_instance **`.
const fn blank(is_pointer: bool) -> &'static str {
    if is_pointer { "" } else { " " }
}

impl<T: CType> CType for *const T {
    const IS_POINTER: bool = true;

    fn c_type(out: &mut dyn Write) -> Result {
        // What is constant is the pointee: of a pointer to a pointer that is written behind the inner star.
        if !T::IS_POINTER {
            out.write_str("const ")?;
        }
        T::c_type(out)?;
        out.write_str(if T::IS_POINTER { "const *" } else { " *" })
    }
}
impl<T: CType> CType for *mut T {
    const IS_POINTER: bool = true;

    fn c_type(out: &mut dyn Write) -> Result {
        T::c_type(out)?;
        write!(out, "{}*", blank(T::IS_POINTER))
    }
}

impl CType for () {
    fn c_type(out: &mut dyn Write) -> Result {
        out.write_str("void")
    }
}

macro_rules! c_functions {
    ($($first:ident $($rest:ident)*;)+) => {
        $(impl<R: CType, $first: CType, $($rest: CType),*> CType
            for Option<unsafe extern "C" fn($first, $($rest),*) -> R>
        {
            fn c_type(out: &mut dyn Write) -> Result {
                R::c_type(out)?;
                write!(out, "{}(*)(", blank(R::IS_POINTER))?;
                $first::c_type(out)?;
                $(out.write_str(", ")?; $rest::c_type(out)?;)*
                out.write_str(")")
            }
        })+
    };
}
c_functions! { A; A B; A B C; A B C D; A B C D E; }

/// Defines a struct of the boundary together with its [`Layout`].
macro_rules! c_struct {
    ($($(#[$meta:meta])* struct $name:ident = $c:literal {
        $($(#[$field_meta:meta])* $field:ident: $ty:ty,)+
    })+) => {
        $($(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)+ }

        impl $crate::abi::layout::CType for $name {
            fn c_type(out: &mut dyn core::fmt::Write) -> core::fmt::Result { out.write_str($c) }
        }
        impl $crate::abi::layout::Layout for $name {
            const C_NAME: &'static str = $c;
            const FIELDS: &'static [$crate::abi::layout::Field] = &[$($crate::abi::layout::Field {
                name: stringify!($field),
                offset: core::mem::offset_of!($name, $field),
                size: core::mem::size_of::<$ty>(),
                c_type: <$ty as $crate::abi::layout::CType>::c_type,
            }),+];
        })+

        /// The structs of this module, in the order written.
        pub(super) const STRUCTS: &[$crate::abi::layout::Struct] = &[$($crate::abi::layout::Struct::of::<$name>()),+];
    };
}
pub(crate) use c_struct;
