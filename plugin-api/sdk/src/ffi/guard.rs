//! Keeps panics from crossing the boundary.

use super::link::HostLink;
use crate::engine::scope;
use im_bridge_plugin_api::abi::Status;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Runs an entry function; a panic becomes [`Status::E_PANIC`]. Its message went to the log by the panic hook.
pub(crate) fn guarded(link: Option<&Arc<HostLink>>, body: impl FnOnce() -> Status) -> Status {
    // Unwind safety: after a panic the host calls nothing but stop and destroy, which look at flags and counts only.
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _scope = link.map(scope::enter);
        body()
    }));
    match caught {
        Ok(status) => status,
        Err(payload) => {
            drop_payload(payload);
            Status::E_PANIC
        }
    }
}

/// Drops the payload of a panic. Its destructor is foreign code and may panic in turn; what that leaves is leaked.
pub(crate) fn drop_payload(payload: Box<dyn std::any::Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}
