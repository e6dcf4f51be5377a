use super::super::{Content, Media, Message, Segment, TextFormat, segment};
use super::{ALT_TEXT_CHARS_MAX, alt_text};

fn formatted(text: &str, format: TextFormat) -> String {
    let text = segment::Text {
        text: text.into(),
        format: Some(format),
    };
    alt_text(&[Content::Text(text).into()])
}

#[test]
fn segments_are_told_in_reading_order() {
    let segments = [
        Segment::mention("u-1", None),
        Segment::text(" and "),
        Segment::mention("u-2", Some("Ann".into())),
        Segment::mention_all(),
        Segment::image(Media::native("1")),
        Segment::file(Media::native("1").name("a.pdf")),
        Segment::file(Media::native("1")),
    ];
    assert_eq!(
        alt_text(&segments),
        "@u-1 and @Ann@all[image][file a.pdf][file]"
    );
}

#[test]
fn what_has_no_words_is_named_in_brackets() {
    let media = || Media::native("1");
    let sound = || segment::Audio {
        media: media(),
        duration_ms: None,
        title: Some("t".into()),
    };
    let place = |title| segment::Location {
        latitude: 0.0,
        longitude: 0.0,
        title,
        address: None,
    };
    let emoji = |unicode, name| {
        Content::Emoji(segment::Emoji {
            unicode,
            id: None,
            name,
        })
    };
    for (content, expected) in [
        (
            Content::Sticker(segment::Image {
                media: media(),
                animated: None,
            }),
            "[sticker]",
        ),
        (Content::Voice(sound()), "[voice]"),
        (Content::Audio(sound()), "[audio]"),
        (
            Content::Video(segment::Video {
                media: media(),
                duration_ms: None,
                thumbnail: None,
            }),
            "[video]",
        ),
        (
            Content::Location(place(Some("Park".into()))),
            "[location Park]",
        ),
        (Content::Location(place(None)), "[location]"),
        (
            Content::Contact(segment::Contact {
                user_id: None,
                name: Some("Bo".into()),
                avatar_url: None,
            }),
            "[contact Bo]",
        ),
        (
            Content::Forward(segment::Forward {
                messages: vec![Message::text("m", "x", None)],
                title: None,
            }),
            "[forwarded 1]",
        ),
        (emoji(Some("🙂".into()), None), "🙂"),
        (emoji(None, Some("smile".into())), "[smile]"),
        (emoji(None, None), "[emoji]"),
        (
            Content::Card(segment::Card {
                title: Some("Offer".into()),
                ..segment::Card::default()
            }),
            "Offer",
        ),
        (
            Content::Card(segment::Card {
                url: Some("https://a.example".into()),
                ..segment::Card::default()
            }),
            "https://a.example",
        ),
        (Content::Card(segment::Card::default()), "[card]"),
    ] {
        assert_eq!(alt_text(&[content.into()]), expected);
    }
    assert_eq!(
        alt_text(&[Segment::opaque_text("red_packet", "x")]),
        "[red_packet]"
    );
    assert_eq!(
        alt_text(&[Segment::opaque_text("red_packet", "x").fallback("a gift")]),
        "a gift"
    );
}

#[test]
fn markup_is_removed() {
    let markdown =
        "# Title\n> **bold** and `code`, [a link](https://a.example), 2 \\* 3 * 4, snake_case!";
    let expected = "Title\nbold and code, a link, 2 * 3 * 4, snake_case!";
    assert_eq!(formatted(markdown, TextFormat::Markdown), expected);
    let html = "<p>1 &lt; 2 &amp; <b>bold</b>&#33;<br>next</p> a & b";
    assert_eq!(
        formatted(html, TextFormat::Html),
        "1 < 2 & bold!\nnext\n a & b"
    );
    assert_eq!(formatted("**as it is**", TextFormat::Plain), "**as it is**");
    assert_eq!(
        formatted("[open ![x](y) ~~gone~~ ~ <", TextFormat::Markdown),
        "[open x gone ~ <"
    );
    assert_eq!(formatted("a < b", TextFormat::Html), "a < b");
}

#[test]
fn long_texts_are_cut_between_characters() {
    let segments = [
        Segment::text("é".repeat(ALT_TEXT_CHARS_MAX - 1)),
        Segment::text("äöü"),
    ];
    let text = alt_text(&segments);
    assert_eq!(text.chars().count(), ALT_TEXT_CHARS_MAX);
    assert!(text.ends_with("éä"));
}
