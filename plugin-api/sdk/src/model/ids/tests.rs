use super::{B32, caller_token, channel_token, client_ref, order_key};

#[test]
fn b32_is_the_beginning_of_the_base32_of_sha256() {
    // SHA-256 of nothing begins e3b0c44298fc1c149afbf4c8996fb92427.
    assert_eq!(B32::of(b"").as_str(), "4oymiquy7qobjgx36tejs35zeq");
    assert_eq!(B32::of(b"x").len(), 26);
}

#[test]
fn tokens_are_safe_and_no_two_ids_share_one() {
    for (id, token) in [
        ("30000000001", "30000000001"),
        ("2-g-1001", "2-g-1001"),
        ("0:1:10001:10002", "0=3A1=3A10001=3A10002"),
        ("群聊 1", "=E7=BE=A4=E8=81=8A=201"),
        ("a.b*c>d", "a=2Eb=2Ac=3Ed"),
        ("_", "=5F"),
        ("", "_"),
        (
            "h_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "h_k7777hpvhmuzvpvienewwahgzz",
        ),
        ("h_", "h_"),
    ] {
        assert_eq!(channel_token(Some(id)), token, "{id}");
    }
    assert_eq!(channel_token(None), "_");
    assert_eq!(
        channel_token(Some(&"x".repeat(70))),
        "h_y4n5ccjcpyrugtwpoh6qunckec"
    );
    assert_eq!(channel_token(Some(&"x".repeat(64))), "x".repeat(64));
    assert_eq!(channel_token(Some(&".".repeat(21))).len(), 63);
    assert!(channel_token(Some(&".".repeat(22))).starts_with("h_"));
}

#[test]
fn callers_are_known_by_the_name_in_their_source() {
    assert_eq!(caller_token(Some("/app/order-desk")), "order-desk");
    assert_eq!(caller_token(Some("urn:x")), "urn=3Ax");
    assert_eq!(caller_token(None), "_");
}

#[test]
fn keys_that_a_provider_can_carry_stay_as_they_are() {
    assert_eq!(client_ref("order-7781-reply-1", 64), "order-7781-reply-1");
    assert_eq!(client_ref(&"k".repeat(50), 50), "k".repeat(50));
    for key in [
        "",
        "with space",
        "h_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "schlüssel",
        &"k".repeat(51),
    ] {
        let hashed = client_ref(key, 50);
        assert_eq!(hashed, format!("h_{}", B32::of(key.as_bytes())), "{key}");
        assert_eq!(hashed.len(), 28);
    }
    assert!(client_ref(&"k".repeat(65), 200).starts_with("h_"));
}

#[test]
fn order_keys_sort_as_numbers() {
    assert_eq!(order_key(42), "00000000000000000042");
    assert!(order_key(9) < order_key(10));
    assert_eq!(order_key(u64::MAX).len(), 20);
}
