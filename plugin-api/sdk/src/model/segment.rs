//! What a message is made of: `{"type": …, "data": {…}, "fallback"?: …}` in reading order.
//!
//! A type that this version does not know is read as [`Content::Opaque`], never an error.
//! Not here: how segments become plain text (`alt_text`).

use super::json::Json;
use super::media::Media;
use super::message::Message;
use super::names::{MentionScope, OpaqueEncoding, SegmentType, TextFormat};
use super::record::record;
use super::word::SegmentWord;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

record! {
    /// Words.
    Text {
        /// The words, at most 65,536 bytes.
        #[schemars(length(max = 65536))]
        text: String,
        /// Their markup; plain when absent.
        format?: TextFormat,
    }

    /// One user, called upon.
    Mention {
        /// Who.
        user_id: String,
        /// Name as shown.
        name?: String,
    }

    /// Everybody, called upon.
    MentionAll {
        /// Whom it reaches; all when absent.
        scope?: MentionScope,
    }

    /// An emoji: one of the three.
    #[schemars(extend("oneOf" = [{"required": ["unicode"]}, {"required": ["id"]}, {"required": ["name"]}]))]
    Emoji {
        /// As characters.
        unicode?: String,
        /// The provider's id.
        id?: String,
        /// The provider's name.
        name?: String,
    }

    /// An address with its preview.
    Link {
        /// The address.
        url: String,
        /// Title of the page.
        title?: String,
        /// Excerpt of the page.
        description?: String,
        /// Picture of the preview.
        image_url?: String,
    }

    /// A picture or a sticker.
    Image {
        /// The picture.
        media: Media,
        /// It moves.
        animated?: bool,
    }

    /// A voice message or a piece of sound.
    Audio {
        /// The sound.
        media: Media,
        /// Length.
        duration_ms?: u64,
        /// Title.
        title?: String,
    }

    /// A film.
    Video {
        /// The film.
        media: Media,
        /// Length.
        duration_ms?: u64,
        /// A picture of it.
        thumbnail?: Media,
    }

    /// Any other file.
    File {
        /// The file.
        media: Media,
    }

    /// A place.
    Location {
        /// Degrees north.
        #[schemars(range(min = -90, max = 90))]
        latitude: f64,
        /// Degrees east.
        #[schemars(range(min = -180, max = 180))]
        longitude: f64,
        /// Its name.
        title?: String,
        /// Its address.
        address?: String,
    }

    /// A user, passed on.
    Contact {
        /// Who.
        user_id?: String,
        /// Name as shown.
        name?: String,
        /// Address of the picture.
        avatar_url?: String,
    }

    /// A structured card.
    #[derive(Default)]
    Card {
        /// Title.
        title?: String,
        /// Body.
        text?: String,
        /// Where it leads.
        url?: String,
        /// Its picture.
        image_url?: String,
        /// Named values.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fields: BTreeMap<String, String>,
        /// Buttons.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        actions: Vec<CardAction>,
    }

    /// A button of a card.
    CardAction {
        /// Its label.
        title: String,
        /// Where it leads.
        url: String,
    }

    /// Messages, passed on.
    Forward {
        /// At most 100, nested at most 3 deep.
        #[schemars(length(max = 100))]
        messages: Vec<Message>,
        /// Title.
        title?: String,
    }

    /// What the model has no word for.
    Opaque {
        /// The provider's word for it.
        native_type: String,
        /// How `native` is to be read.
        encoding: OpaqueEncoding,
        /// The content: any JSON, or a string for the other encodings.
        native: Json,
    }
}

/// One piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// What it is.
    pub content: Content,
    /// Text for whoever cannot show or carry the content.
    pub fallback: Option<String>,
}

macro_rules! contents {
    ($($(#[$meta:meta])* $variant:ident($data:ty),)+) => {
        /// What a segment is.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Content {
            $($(#[$meta])* $variant($data),)+
        }

        impl Content {
            /// Its type on the wire.
            #[must_use]
            pub const fn segment_type(&self) -> SegmentType {
                match self {
                    $(Self::$variant(_) => SegmentType::$variant,)+
                }
            }

            fn read<'de, D: Deserializer<'de>>(of: SegmentType, from: D) -> Result<Self, D::Error> {
                match of {
                    $(SegmentType::$variant => <$data>::deserialize(from).map(Self::$variant),)+
                }
            }

            fn write<S: SerializeStruct>(&self, to: &mut S) -> Result<(), S::Error> {
                match self {
                    $(Self::$variant(data) => to.serialize_field("data", data),)+
                }
            }
        }

        fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
            vec![$(segment_schema(SegmentType::$variant, generator.subschema_for::<$data>()),)+]
        }
    };
}

contents! {
    Text(Text),
    Mention(Mention),
    MentionAll(MentionAll),
    Emoji(Emoji),
    Link(Link),
    Image(Image),
    /// A picture that stands for a mood.
    Sticker(Image),
    /// Recorded on the spot.
    Voice(Audio),
    /// A piece of sound.
    Audio(Audio),
    Video(Video),
    File(File),
    Location(Location),
    Contact(Contact),
    Card(Card),
    Forward(Forward),
    Opaque(Opaque),
}

impl From<Content> for Segment {
    fn from(content: Content) -> Self {
        Self {
            content,
            fallback: None,
        }
    }
}

impl Segment {
    /// Plain words.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Content::Text(Text { text, format: None }).into()
    }

    /// One user, called upon.
    pub fn mention(user_id: impl Into<String>, name: Option<String>) -> Self {
        let user_id = user_id.into();
        Content::Mention(Mention { user_id, name }).into()
    }

    /// Everybody, called upon.
    #[must_use]
    pub fn mention_all() -> Self {
        Content::MentionAll(MentionAll { scope: None }).into()
    }

    /// A picture.
    #[must_use]
    pub fn image(media: Media) -> Self {
        let animated = None;
        Content::Image(Image { media, animated }).into()
    }

    /// A file.
    #[must_use]
    pub fn file(media: Media) -> Self {
        Content::File(File { media }).into()
    }

    /// Provider content as JSON.
    pub fn opaque(native_type: impl Into<String>, native: impl Into<Json>) -> Self {
        Content::Opaque(Opaque {
            native_type: native_type.into(),
            encoding: OpaqueEncoding::Json,
            native: native.into(),
        })
        .into()
    }

    /// Provider content as text that is no JSON.
    pub fn opaque_text(native_type: impl Into<String>, native: &str) -> Self {
        Content::Opaque(Opaque {
            native_type: native_type.into(),
            encoding: OpaqueEncoding::Utf8,
            native: native.into(),
        })
        .into()
    }

    /// Provider content as bytes.
    pub fn opaque_bytes(native_type: impl Into<String>, native: &[u8]) -> Self {
        use base64::Engine;
        let native = base64::engine::general_purpose::STANDARD.encode(native);
        Content::Opaque(Opaque {
            native_type: native_type.into(),
            encoding: OpaqueEncoding::Base64,
            native: native.as_str().into(),
        })
        .into()
    }

    /// With text for whoever cannot show or carry the content.
    #[must_use]
    pub fn fallback(mut self, fallback: impl Into<String>) -> Self {
        self.fallback = Some(fallback.into());
        self
    }

    /// Its type on the wire.
    #[must_use]
    pub const fn segment_type(&self) -> SegmentType {
        self.content.segment_type()
    }
}

impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let members = 2 + usize::from(self.fallback.is_some());
        let mut to = to.serialize_struct("Segment", members)?;
        to.serialize_field("type", self.segment_type().as_str())?;
        self.content.write(&mut to)?;
        if let Some(fallback) = &self.fallback {
            to.serialize_field("fallback", fallback)?;
        }
        to.end()
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // The type first: the strict reader visits members in this order, so that data never has to wait for it.
        from.deserialize_struct("Segment", &["type", "data", "fallback"], SegmentVisitor)
    }
}

struct SegmentVisitor;

impl<'de> Visitor<'de> for SegmentVisitor {
    type Value = Segment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a segment: an object with type and data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Segment, A::Error> {
        let (mut word, mut content, mut early, mut fallback) = (None, None, None, None);
        while let Some(member) = from.next_key::<Cow<'de, str>>()? {
            match &*member {
                "type" => word = Some(from.next_value::<SegmentWord>()?.0),
                "data" => match &word {
                    Some(word) => content = Some(from.next_value_seed(DataSeed(word))?),
                    None => early = Some(from.next_value::<Json>()?),
                },
                "fallback" => fallback = from.next_value::<Option<String>>()?,
                _ => drop(from.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        let word = word.ok_or_else(|| A::Error::missing_field("type"))?;
        let content = match (content, early) {
            (Some(content), _) => content,
            // Written by somebody who sorts members: the data came before its type.
            (None, Some(data)) => {
                let mut from = serde_json::Deserializer::from_str(data.as_str());
                serde::de::DeserializeSeed::deserialize(DataSeed(&word), &mut from)
                    .map_err(A::Error::custom)?
            }
            (None, None) => return Err(A::Error::missing_field("data")),
        };
        Ok(Segment { content, fallback })
    }
}

/// Reads the data of the type with this name.
struct DataSeed<'a>(&'a str);

impl<'de> serde::de::DeserializeSeed<'de> for DataSeed<'_> {
    type Value = Content;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Content, D::Error> {
        match self.0.parse::<SegmentType>() {
            Ok(known) => Content::read(known, from),
            Err(_) => Ok(Content::Opaque(Opaque {
                native_type: self.0.to_owned(),
                encoding: OpaqueEncoding::Json,
                native: Json::deserialize(from)?,
            })),
        }
    }
}

impl schemars::JsonSchema for Segment {
    fn schema_name() -> Cow<'static, str> {
        "Segment".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let each = schemas(generator);
        json_schema!({ "description": "One piece of a message.", "oneOf": each })
    }
}

fn segment_schema(of: SegmentType, data: Schema) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["type", "data"],
        "properties": {
            "type": { "type": "string", "const": of.as_str() },
            "data": data,
            "fallback": { "type": "string", "description": "Text for whoever cannot show or carry the content." },
        },
    })
}
