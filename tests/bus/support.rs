//! What every test of the bus needs.

use im_bridge::bus::objects::Limits;
use im_bridge::bus::{Account, Bus, Settings, connect, provision};
use im_bridge_test_harness::Nats;

/// Small, so that many servers fit on one disk.
pub fn limits() -> Limits {
    Limits::default().at_most_each(16 * 1024 * 1024)
}

pub fn settings(urls: &[String], name: &str) -> Settings {
    Settings {
        urls: urls.to_vec(),
        name: name.to_owned(),
        root: "im".parse().unwrap(),
        auth: connect::Auth::None,
        tls: connect::Tls::default(),
        inbox_prefix: None,
    }
}

pub async fn connected(nats: &Nats, name: &str) -> Bus {
    Bus::connect(&settings(&[nats.url().to_owned()], name))
        .await
        .unwrap()
}

/// Connected, and all objects are there.
pub async fn provisioned(nats: &Nats, name: &str) -> Bus {
    let bus = connected(nats, name).await;
    let differences = provision::provision(&bus, &limits(), true).await.unwrap();
    assert_eq!(differences, []);
    bus
}

pub fn account(provider: &str, alias: &str) -> Account {
    Account::new(provider.parse().unwrap(), alias.parse().unwrap())
}
