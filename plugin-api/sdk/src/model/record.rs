//! `record!`: a JSON object of the model, written like the reference writes it: `member: Type`, `member?: Type`.
//!
//! Members are serialised in the order written, which the reference fixes. A member with `?` is left out when it is
//! none; an `Option` without it is written as null. Reading ignores unknown members; [`super::strict`] refuses them.

macro_rules! record {
    (@members [$($meta:tt)*] $name:ident [$($done:tt)*]) => {
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        $($meta)*
        pub struct $name {
            $($done)*
        }
    };
    (@members $meta:tt $name:ident [$($done:tt)*] $(#[$own:meta])* $member:ident ?: $type:ty, $($rest:tt)*) => {
        $crate::model::record::record!(@members $meta $name [
            $($done)*
            $(#[$own])*
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $member: Option<$type>,
        ] $($rest)*);
    };
    (@members $meta:tt $name:ident [$($done:tt)*] $(#[$own:meta])* $member:ident : $type:ty, $($rest:tt)*) => {
        $crate::model::record::record!(@members $meta $name [
            $($done)*
            $(#[$own])*
            pub $member: $type,
        ] $($rest)*);
    };
    ($($(#[$meta:meta])* $name:ident { $($members:tt)* })+) => {
        $($crate::model::record::record!(@members [$(#[$meta])*] $name [] $($members)*);)+
    };
}

pub(crate) use record;
