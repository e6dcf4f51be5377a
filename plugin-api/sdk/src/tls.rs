//! TLS for adapters: rustls with ring, and the certificates that the operating system trusts.
//!
//! The provider of cryptography is named in each configuration and never installed for the process: an image has more
//! than one user of rustls, and none may decide for the others. The system's certificates are taken because operators run
//! providers of their own behind private authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured. They are read once
//! per image, at the first use. Where there are none, plain connections still work and every TLS handshake fails.
//!
//! Not here: client certificates and certificates that only one account trusts; no provider needs them.

use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};

/// For HTTP: HTTP/2 where the server speaks it.
pub(crate) fn http() -> &'static ClientConfig {
    static CONFIG: OnceLock<ClientConfig> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let mut config = ClientConfig::clone(plain());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    })
}

/// Without a protocol negotiated: for WebSockets, which begin as HTTP/1.1.
pub(crate) fn plain() -> &'static Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a trusted certificate of the system cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!(
                "the system trusts no certificate: TLS handshakes will fail; set SSL_CERT_FILE"
            );
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    })
}
