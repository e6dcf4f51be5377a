//! Spans for a collector: whoever makes them writes them, here a frame is put around as many as go together.
//!
//! Not here: what a span says and how it is written (`telemetry::traces`).

use super::exporter::Exporter;
use super::{Signal, Target, wire};
use crate::telemetry::settings::Resource;

/// Numbers of the fields of a request, of its `ResourceSpans`, and of the `ScopeSpans` in these.
const RESOURCE_SPANS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SCOPE: u32 = 1;
const SPAN: u32 = 2;
/// Of a resource, of a scope.
const ATTRIBUTE: u32 = 1;
const NAME: u32 = 1;
const VERSION: u32 = 2;

/// Starts to send: items are the bytes of a span each.
///
/// # Errors
/// The system has no thread left.
pub(in crate::telemetry) fn start(
    target: Target,
    capacity: usize,
    resource: &Resource,
) -> std::io::Result<Exporter<Vec<u8>>> {
    let frame = Frame::new(resource);
    Exporter::start(Signal::Traces, target, capacity, move |spans| {
        frame.around(&spans)
    })
}

/// What all messages have in common, as it stands in them.
struct Frame {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Frame {
    fn new(of: &Resource) -> Self {
        let mut facts = Vec::new();
        for (key, fact) in of {
            wire::attribute(&mut facts, ATTRIBUTE, key, fact.value());
        }
        let mut names = Vec::new();
        wire::bytes(&mut names, NAME, b"im-bridge");
        wire::bytes(&mut names, VERSION, env!("CARGO_PKG_VERSION").as_bytes());
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        wire::bytes(&mut resource, RESOURCE, &facts);
        wire::bytes(&mut scope, SCOPE, &names);
        Self { resource, scope }
    }

    fn around(&self, spans: &[Vec<u8>]) -> Vec<u8> {
        let spans_len: usize = spans
            .iter()
            .map(|span| wire::whole_len(SPAN, span.len()))
            .sum();
        let of_scope = self.scope.len() + spans_len;
        let of_resource = self.resource.len() + wire::whole_len(SCOPE_SPANS, of_scope);
        let mut out = Vec::with_capacity(wire::whole_len(RESOURCE_SPANS, of_resource));
        wire::head(&mut out, RESOURCE_SPANS, of_resource);
        out.extend_from_slice(&self.resource);
        wire::head(&mut out, SCOPE_SPANS, of_scope);
        out.extend_from_slice(&self.scope);
        for span in spans {
            wire::bytes(&mut out, SPAN, span);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::settings::Fact;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
    use opentelemetry_proto::tonic::resource::v1::Resource as Theirs;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message as _;

    #[test]
    fn a_message_is_what_another_writer_makes_of_it() {
        let resource = Resource::from([
            ("process.pid".to_owned(), Fact::Number(7)),
            ("service.name".to_owned(), Fact::Text("ä".to_owned())),
        ]);
        for count in [0, 1, 512] {
            let spans: Vec<Span> = (0..count)
                .map(|number| Span {
                    name: "x".repeat(number),
                    ..Span::default()
                })
                .collect();
            let bytes: Vec<Vec<u8>> = spans.iter().map(Span::encode_to_vec).collect();
            let ours = Frame::new(&resource).around(&bytes);
            let theirs = ExportTraceServiceRequest {
                resource_spans: vec![ResourceSpans {
                    resource: Some(Theirs {
                        attributes: super::super::resource(&resource),
                        ..Theirs::default()
                    }),
                    scope_spans: vec![ScopeSpans {
                        scope: Some(InstrumentationScope {
                            name: "im-bridge".to_owned(),
                            version: env!("CARGO_PKG_VERSION").to_owned(),
                            ..InstrumentationScope::default()
                        }),
                        spans,
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }],
            };
            assert!(ours == theirs.encode_to_vec(), "{count}");
            assert_eq!(ours.len(), ours.capacity());
        }
    }
}
