//! The `describe` document of a plugin, made once and kept for the life of the process.

use crate::export::Exported;
use im_bridge_plugin_api::abi;

/// The document, and what the extension function must know of it.
pub(crate) struct Described {
    pub(crate) json: String,
    pub(crate) has_verify: bool,
    pub(crate) has_webhook: bool,
}

pub(crate) fn described<A: Exported>() -> &'static Described {
    A::statics().described.get_or_init(|| {
        let description = A::describe();
        Described {
            json: description.to_json::<A>(A::PACKAGE, A::VERSION),
            has_verify: description.lists(abi::EXT_VERIFY),
            has_webhook: description.lists(abi::EXT_WEBHOOK),
        }
    })
}
