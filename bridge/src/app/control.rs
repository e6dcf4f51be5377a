//! What the core answers itself when an account is controlled: what it offers, and moving it to another replica.
//!
//! Not here: reading the question, and the verbs that are the adapter's (`outbound`).

use super::base::Base;
use super::face::Face;
use crate::bus::Shard;
use crate::outbound::Core;
use futures_util::future::{BoxFuture, ready};
use im_bridge_sdk::model::{ErrorCode, ErrorObject, results};
use std::sync::Arc;

/// Of one account.
pub struct AccountCore {
    pub base: Arc<Base>,
    pub face: Arc<Face>,
    pub shard: Shard,
}

impl Core for AccountCore {
    fn info(&self) -> BoxFuture<'_, Result<results::AccountInfo, ErrorObject>> {
        let info = self
            .face
            .capability_document()
            .map(|document| results::AccountInfo {
                adapter: document.adapter.clone(),
                capabilities: (*document).clone(),
                token_expires_at: None,
                provider: None,
                degradations: Vec::new(),
            });
        let absent = || {
            let text = format!("no adapter serves {}; see its state", self.face.account);
            ErrorObject::new(ErrorCode::NotConnected, true, text)
        };
        Box::pin(ready(info.ok_or_else(absent)))
    }

    fn drain(&self) -> BoxFuture<'_, Result<Vec<String>, ErrorObject>> {
        Box::pin(async {
            let accounts = self.base.directory.of(self.shard);
            // The answer is on its way before this account is asked to end: ending waits for what is in hand.
            self.base.shards.drain(self.shard).await;
            Ok(accounts.iter().map(ToString::to_string).collect())
        })
    }

    fn revive(&self) -> BoxFuture<'_, Result<(), ErrorObject>> {
        self.face.revive();
        Box::pin(ready(Ok(())))
    }
}
