//! Files, pictures, sound: where their bytes are, never the bytes themselves.

use super::record::record;
use super::time::Time;

record! {
    /// Where media is, and what is known of it. Exactly one of `url`, `ref` and `native_id` says where.
    #[derive(Default)]
    #[schemars(extend("oneOf" = [{"required": ["url"]}, {"required": ["ref"]}, {"required": ["native_id"]}]))]
    Media {
        /// Address, http or https; it may need the reader's rights and may expire.
        #[schemars(regex(pattern = r"^https?://"))]
        url?: String,
        /// Name of an object in the bridge's store.
        #[serde(rename = "ref")]
        blob?: String,
        /// The provider's id.
        native_id?: String,
        /// Media type.
        mime?: String,
        /// File name.
        name?: String,
        /// Bytes.
        size?: u64,
        /// SHA-256 of the bytes, in hex.
        sha256?: String,
        /// Pixels.
        width?: u32,
        /// Pixels.
        height?: u32,
        /// Until when it can be fetched.
        expires_at?: Time,
    }
}

/// Where the bytes of media are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaSource<'a> {
    /// At an address.
    Url(&'a str),
    /// In the bridge's object store, under this name.
    Blob(&'a str),
    /// At the provider, under this id.
    Native(&'a str),
}

impl Media {
    /// Media at an address.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            url: Some(url.into()),
            ..Self::default()
        }
    }

    /// Media in the bridge's object store.
    pub fn blob(name: impl Into<String>) -> Self {
        Self {
            blob: Some(name.into()),
            ..Self::default()
        }
    }

    /// Media at the provider.
    pub fn native(id: impl Into<String>) -> Self {
        Self {
            native_id: Some(id.into()),
            ..Self::default()
        }
    }

    /// With a media type.
    #[must_use]
    pub fn mime(mut self, mime: impl Into<String>) -> Self {
        self.mime = Some(mime.into());
        self
    }

    /// With a file name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where the bytes are; none unless exactly one place is named.
    #[must_use]
    pub fn source(&self) -> Option<MediaSource<'_>> {
        match (&self.url, &self.blob, &self.native_id) {
            (Some(url), None, None) => Some(MediaSource::Url(url)),
            (None, Some(name), None) => Some(MediaSource::Blob(name)),
            (None, None, Some(id)) => Some(MediaSource::Native(id)),
            _ => None,
        }
    }
}
