//! Image uploads: a multipart form in, a URL and the size in pixels out; the last ones are served.

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::faults::{Do, On};
use super::http::Answer;
use super::mtop::Reply;
use super::wire::fresh_hex;
use super::world::Shared;

/// Images that are kept; older ones are gone.
const IMAGES_MAX: usize = 32;

/// Takes an upload; how long to wait with the answer is a fault's.
pub fn take(
    world: &Shared,
    base: &str,
    headers: &HeaderMap,
    cookies: &[(String, String)],
    query: &HashMap<String, String>,
    body: &Bytes,
) -> (Reply, u64) {
    let refused = |reason: &str| {
        (
            Reply::Json(json!({ "success": false, "errorMsg": reason }), vec![]),
            0,
        )
    };
    let mut world = world.lock();
    if world.check_login(cookies).is_err() {
        return refused("FAIL_SYS_SESSION_EXPIRED");
    }
    if query.get("appkey").map(String::as_str) != Some("xy_chat") {
        return refused("appkey is xy_chat");
    }
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let Some(image) = content_type.and_then(|kind| file(kind, body)) else {
        return refused("a multipart form with a `file`");
    };
    let uid = cookies
        .iter()
        .find(|(key, _)| key == "unb")
        .map(|(_, uid)| uid.clone());
    let fault = world
        .hit(On::Upload, uid.as_deref(), "/api/upload.api")
        .map(|(_, fault)| fault);
    let mut ms = 0;
    match fault.as_ref().map(|fault| (fault.what, fault)) {
        Some((Do::Status | Do::Text, fault)) => {
            let status = fault.status.unwrap_or(200);
            return (
                Reply::Plain(status, fault.text.clone().unwrap_or_default()),
                0,
            );
        }
        Some((Do::Ret, fault)) => {
            let body = fault.data.clone().unwrap_or(json!({ "success": false }));
            return (Reply::Json(body, vec![]), 0);
        }
        Some((Do::Withhold, _)) => return (Reply::Never, 0),
        Some((Do::Drop, _)) => return (Reply::Drop, 0),
        Some((Do::Delay, fault)) => ms = fault.ms.unwrap_or_default(),
        _ => {}
    }
    let (width, height) = pixels(&image).unwrap_or((100, 100));
    let name = format!("{}.img", fresh_hex());
    let url = format!("{base}/uploads/{name}");
    let fields: Value = json!({ "uid": uid, "bytes": image.len(), "url": url });
    world.tell("upload", fields);
    if world.images.len() == IMAGES_MAX {
        world.images.pop_front();
    }
    world.images.push_back((name, image));
    let object = json!({ "url": url, "pix": format!("{width}x{height}"), "size": body.len() });
    (
        Reply::Json(json!({ "success": true, "object": object }), vec![]),
        ms,
    )
}

pub fn give(world: &Shared, name: &str) -> Answer {
    let world = world.lock();
    let image = world.images.iter().find(|(other, _)| other == name);
    let mut answer = Response::new(Full::new(image.map_or_else(Bytes::new, |it| it.1.clone())));
    if image.is_none() {
        *answer.status_mut() = StatusCode::NOT_FOUND;
    }
    answer
}

/// The bytes of the part named `file`.
fn file(content_type: &str, body: &Bytes) -> Option<Bytes> {
    let boundary = content_type
        .strip_prefix("multipart/form-data")?
        .split("boundary=")
        .nth(1)?;
    let boundary = boundary.split(';').next()?.trim_matches('"');
    let end = format!("\r\n--{boundary}");
    let mut rest = 0;
    while let Some(head) = find(body, b"\r\n\r\n", rest) {
        let names = String::from_utf8_lossy(&body[rest..head]);
        let start = head + 4;
        let stop = find(body, end.as_bytes(), start)?;
        if names.contains("name=\"file\"") {
            return Some(body.slice(start..stop));
        }
        rest = stop + 2;
    }
    None
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let at = bytes
        .get(from..)?
        .windows(what.len())
        .position(|it| it == what)?;
    Some(from + at)
}

/// Width and height of a PNG or a GIF.
fn pixels(image: &[u8]) -> Option<(u32, u32)> {
    if image.starts_with(b"\x89PNG\r\n\x1a\n") {
        let number = |at: usize| Some(u32::from_be_bytes(image.get(at..at + 4)?.try_into().ok()?));
        return number(16).zip(number(20));
    }
    let number = |at: usize| Some(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?));
    let size = number(6)
        .zip(number(8))
        .filter(|_| image.starts_with(b"GIF8"));
    size.map(|(width, height)| (width.into(), height.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_form_is_found_with_its_size() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 3, 32, 0, 0, 2, 88]);
        let mut body = b"--B\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx\r\n--B\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n"
            .to_vec();
        body.extend(&png);
        body.extend(b"\r\n--B--\r\n");
        let found = file("multipart/form-data; boundary=B", &body.into()).unwrap();
        assert_eq!(found, png);
        assert_eq!(pixels(&found), Some((800, 600)));
    }
}
