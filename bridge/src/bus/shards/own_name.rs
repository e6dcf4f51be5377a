//! A process under the name of one before it: what that one left, and whether it is dead.

use super::{Keeper, ShardsError};
use crate::bus::kv::Write;
use crate::bus::members::{Owner, member_key, shard_key};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

impl Keeper {
    /// A process that was killed and comes back under its name need not wait for its leases to expire: they are watched for
    /// one renewal and a second. Renewed, they belong to a replica that runs under the same name.
    pub(super) async fn watch_own_name(&mut self) -> Result<(), ShardsError> {
        while !self.is_informed {
            let change = self.watch.next().await;
            self.changed(change);
        }
        let before = self.of_own_name();
        if before.is_empty() {
            return Ok(());
        }
        let until = Instant::now() + self.settings.timing.renew + Duration::from_secs(1);
        while Instant::now() < until {
            tokio::select! {
                biased;
                change = self.watch.next() => self.changed(change),
                () = tokio::time::sleep_until(until) => {}
            }
            let renewed = self.of_own_name().into_iter().find(|(key, (revision, _))| {
                before.get(key).is_some_and(|(first, _)| first != revision)
            });
            if let Some((_, (_, started))) = renewed {
                return Err(ShardsError::Name {
                    name: self.name.clone(),
                    started,
                });
            }
        }
        self.bury().await;
        Ok(())
    }

    /// Records of other starts of this name: by key, the revision and when that process started.
    fn of_own_name(&self) -> BTreeMap<String, (u64, u64)> {
        let is_former = |owner: &Owner| owner.name() == self.name && *owner != self.owner;
        let members = self
            .view
            .members
            .iter()
            .filter(|(owner, _)| is_former(owner))
            .map(|(owner, seen)| (member_key(owner), (seen.revision, seen.record.started)));
        let leases = self
            .view
            .leases
            .iter()
            .filter(|(_, seen)| is_former(&seen.record.owner))
            .map(|(shard, seen)| (shard_key(*shard), (seen.revision, seen.record.started)));
        members.chain(leases).collect()
    }

    /// The former process is dead: its leases are free for us, and its membership counts no more.
    async fn bury(&mut self) {
        let former: Vec<(Owner, u64)> = self
            .view
            .members
            .iter()
            .filter(|(owner, _)| owner.name() == self.name && **owner != self.owner)
            .map(|(owner, seen)| (owner.clone(), seen.revision))
            .collect();
        for (owner, revision) in former {
            let write = Write {
                expects: Some(revision),
                ttl: Some(self.settings.timing.ttl),
                within: self.settings.timing.renew,
                ..Write::default()
            };
            // Failing, it expires.
            let _ = self.bucket.delete(&member_key(&owner), write).await;
            self.view.members.remove(&owner);
        }
        let name = &self.name;
        let me = &self.owner;
        let dead = self.view.leases.extract_if(.., |_, seen| {
            seen.record.owner.name() == name && seen.record.owner != *me
        });
        self.dead = dead.map(|(shard, seen)| (shard, seen.revision)).collect();
    }
}
