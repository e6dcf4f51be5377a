//! Figures that are kept apart by provider.

use crate::bus::Provider;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The figures of each provider, made when it is first asked for. Their number is that of providers in the configuration.
#[derive(Debug)]
pub struct PerProvider<F>(Mutex<HashMap<Provider, Arc<F>>>);

impl<F> Default for PerProvider<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F: Default> PerProvider<F> {
    /// Those of one. Kept by who counts, so that counting needs no look-up.
    pub fn provider(&self, provider: &Provider) -> Arc<F> {
        let mut providers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(providers.entry(provider.clone()).or_default())
    }

    /// Each provider seen so far.
    pub fn providers(&self) -> Vec<(Provider, Arc<F>)> {
        let providers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        providers
            .iter()
            .map(|(provider, figures)| (provider.clone(), Arc::clone(figures)))
            .collect()
    }
}
