//! The examples of RFC 7541 appendix C, what a decoder must refuse or outlive, and what both sides promise to cost.

use super::{DecodeError, Decoder, Encoder, Field};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Method, StatusCode};

const NO_LIMIT: usize = usize::MAX;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn told(field: &Field) -> String {
    match field {
        Field::Method(method) => format!(":method: {method}"),
        Field::Scheme(scheme) => format!(":scheme: {scheme}"),
        Field::Authority(authority) => format!(":authority: {authority}"),
        Field::Path(path) => format!(":path: {path}"),
        Field::Protocol(protocol) => format!(":protocol: {}", protocol.to_str().unwrap()),
        Field::Status(status) => format!(":status: {}", status.as_str()),
        Field::Header(name, value) => format!("{name}: {}", value.to_str().unwrap()),
    }
}

fn decode(decoder: &mut Decoder, block: &Bytes) -> Result<Vec<String>, DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, NO_LIMIT, |field| {
        fields.push(told(&field));
        Ok(())
    })?;
    Ok(fields)
}

/// What a fresh decoder makes of one block.
fn once(block: &[u8]) -> Result<Vec<String>, DecodeError> {
    decode(&mut Decoder::new(4096), &Bytes::copy_from_slice(block))
}

/// A literal without an index, plain.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, name.len() as u8][..], name, &[value.len() as u8], value].concat()
}

/// The dynamic table, newest first, one entry to a line.
fn table(decoder: &mut Decoder) -> String {
    let entries = (62..127).map_while(|index| decode(decoder, &Bytes::from(vec![0x80 | index])).ok());
    entries.flatten().collect::<Vec<_>>().join("\n")
}

/// A block, the fields in it, and the table after it.
type Step<'a> = (&'a str, &'a str, &'a str);

fn follows(decoder: &mut Decoder, steps: &[Step<'_>]) {
    for (block, fields, entries) in steps {
        assert_eq!(decode(decoder, &hex(block)).map(|fields| fields.join("\n")).as_deref(), Ok(*fields));
        assert_eq!(table(decoder), *entries, "after {block}");
    }
}

#[test]
fn single_fields_of_the_appendix() {
    let custom = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    follows(&mut Decoder::new(4096), &[(custom, "custom-key: custom-header", "custom-key: custom-header")]);
    follows(&mut Decoder::new(4096), &[("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", "")]);
    follows(&mut Decoder::new(4096), &[("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", "")]);
    follows(&mut Decoder::new(4096), &[("82", ":method: GET", "")]);
}

#[test]
fn requests_of_the_appendix_plain_and_huffman_coded() {
    let first = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com";
    let second = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache";
    let third = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value";
    let authority = ":authority: www.example.com";
    let two = format!("cache-control: no-cache\n{authority}");
    let three = format!("custom-key: custom-value\n{two}");
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for [one, other, last] in [plain, huffman] {
        follows(&mut Decoder::new(4096), &[(one, first, authority), (other, second, &two), (last, third, &three)]);
    }
}

#[test]
fn responses_of_the_appendix_push_entries_out_of_a_table_of_256_bytes() {
    let first = ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com";
    let second = ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let third = format!(
        ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\ncontent-encoding: gzip\n{cookie}"
    );
    let after_first = "location: https://www.example.com\ndate: Mon, 21 Oct 2013 20:13:21 GMT\ncache-control: private\n:status: 302";
    let after_second = ":status: 307\nlocation: https://www.example.com\ndate: Mon, 21 Oct 2013 20:13:21 GMT\ncache-control: private";
    let after_third = format!("{cookie}\ncontent-encoding: gzip\ndate: Mon, 21 Oct 2013 20:13:22 GMT");
    // The appendix has its table of 256 bytes from the settings; here the encoder asks for it.
    let plain = [
        "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for [one, other, last] in [plain, huffman] {
        follows(&mut Decoder::new(4096), &[(one, first, after_first), (other, second, after_second), (last, &third, &after_third)]);
    }
}

#[test]
fn blocks_that_no_encoder_writes_end_the_connection() {
    for (block, what) in [
        (&[0x80][..], "index 0"),
        (&[0x80 | 62], "an entry that is not there"),
        (&[0x7f, 0x00, 0x01, b'a'], "a name that is not there"),
        (&[0x40, 0x01], "an end within a name"),
        (&[0x40, 0x01, b'a', 0x02, b'b'], "an end within a value"),
        (&[0xff], "an end within an integer"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "an integer without bounds"),
        (&[0x00, 0x7f, 0xff, 0xff, 0xff, 0x7f], "a string of 256 MiB"),
        (&[0x3f, 0xe2, 0x1f], "a table of 4097 bytes"),
        (&[0x82, 0x20], "a size update after a field"),
        (&[0x00, 0x01, b'a', 0x81, 0xff], "a byte of padding"),
        (&[0x00, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff], "EOS"),
    ] {
        assert!(matches!(once(block), Err(DecodeError::Compression(_))), "{what}: {:?}", once(block));
    }
    assert_eq!(once(&[0x20, 0x3f, 0xe1, 0x1f, 0x82]).as_deref(), Ok(&[":method: GET".to_owned()][..]));
    assert_eq!(once(&[]), Ok(Vec::new()));
}

#[test]
fn malformed_messages_end_their_stream_only() {
    let of = |name: &str, value: &str| literal(name.as_bytes(), value.as_bytes());
    for (block, what) in [
        (of("Accept", "a"), "upper case"),
        (of("", "a"), "no name"),
        (of("a b", "a"), "a space in a name"),
        (of("a:", "a"), "a colon in a name"),
        (of("a", "b\0"), "NUL"),
        (of("a", "b\r\nc: d"), "a line's end"),
        (of("a", " b"), "a space before a value"),
        (of("a", "b\t"), "a tab after a value"),
        (of("a", " "), "nothing but a space"),
        (of(":unknown", "a"), "an unknown pseudo-header field"),
        (of("connection", "close"), "connection"),
        (of("transfer-encoding", "chunked"), "transfer-encoding"),
        (vec![0x80 | 57], "transfer-encoding by index"),
        (of("keep-alive", "a"), "keep-alive"),
        (of("te", "gzip"), "te"),
        (of(":method", "GE T"), "a method with a space"),
        (of(":path", ""), "an empty path"),
        (of(":path", "a"), "a path without a slash"),
        (of(":path", "/a#b"), "a fragment"),
        (of(":path", "/a b"), "a space in a path"),
        (of(":authority", ""), "an empty authority"),
        (of(":authority", "a@b"), "a user"),
        (of(":authority", "a/b"), "a path in the authority"),
        (of(":scheme", ""), "an empty scheme"),
        (of(":status", "20"), "two digits"),
        (of(":status", "20x"), "no digits"),
        (of(":protocol", ""), "an empty protocol"),
        (vec![0x82, 0x83], "two methods"),
        ([of("a", "b"), vec![0x82]].concat(), "a method after a field"),
    ] {
        assert!(matches!(once(&block), Err(DecodeError::Malformed(_))), "{what}: {:?}", once(&block));
    }
    for (name, value) in
        [("te", "trailers"), (":path", "*"), (":path", "/a?b=c"), ("a", ""), ("a", "b c\tä"), (":protocol", "websocket"), (":authority", "[::1]:80")]
    {
        assert!(Decoder::new(4096).decode(&of(name, value).into(), NO_LIMIT, |_| Ok(())).is_ok(), "{name}: {value}");
    }
}

#[test]
fn a_refused_message_leaves_the_table_as_its_sender_has_it() {
    let mut first = BytesMut::new();
    // Four entries: a wrong name, a wrong value, two that are right.
    for (name, value) in [("Wrong", "1"), ("name", "wrong\0"), ("other", "value"), ("last", "one")] {
        first.put_u8(0x40);
        first.extend_from_slice(&literal(name.as_bytes(), value.as_bytes())[1..]);
    }
    let first = first.freeze();
    let next = Bytes::from_static(&[0x80 | 62, 0x80 | 63, 0x7f, 0x01, 0x02, b'o', b'k']);
    let fields = ["last: one", "other: value", "name: ok"].map(str::to_owned);
    for limit in [NO_LIMIT, 0, 40] {
        let mut decoder = Decoder::new(4096);
        assert!(matches!(decoder.decode(&first, limit, |_| panic!("a field is taken")), Err(DecodeError::Malformed(_) | DecodeError::TooLarge)));
        assert_eq!(decode(&mut decoder, &next).as_deref(), Ok(&fields[..]));
        assert!(matches!(decode(&mut decoder, &Bytes::from_static(&[0x80 | 65])), Err(DecodeError::Malformed(_))));
    }
}

#[test]
fn the_list_is_limited_as_settings_count_it() {
    let block = Bytes::from([vec![0x82], literal(b"name", b"value")].concat());
    let size = ":methodGET".len() + 32 + "namevalue".len() + 32;
    assert_eq!(Decoder::new(4096).decode(&block, size, |_| Ok(())), Ok(()));
    assert_eq!(Decoder::new(4096).decode(&block, size - 1, |_| Ok(())), Err(DecodeError::TooLarge));
}

#[test]
fn a_refusal_of_the_taker_is_the_answer() {
    let mut taken = 0;
    let answer = Decoder::new(4096).decode(&Bytes::from_static(&[0x82, 0x86, 0x84]), NO_LIMIT, |field| {
        taken += 1;
        if matches!(field, Field::Scheme(_)) { Err(DecodeError::Malformed("no")) } else { Ok(()) }
    });
    assert_eq!((answer, taken), (Err(DecodeError::Malformed("no")), 2));
}

#[test]
fn a_smaller_table_than_the_default_is_insisted_on_once_it_is_acknowledged() {
    let mut decoder = Decoder::new(100);
    assert!(decode(&mut decoder, &Bytes::from_static(&[0x82])).is_ok());
    decoder.acknowledged();
    assert!(matches!(decode(&mut decoder, &Bytes::from_static(&[0x82])), Err(DecodeError::Compression(_))));
    let mut decoder = Decoder::new(100);
    decoder.acknowledged();
    assert!(matches!(decode(&mut decoder, &Bytes::from_static(&[0x3f, 0x46, 0x82])), Err(DecodeError::Compression(_))), "101 bytes");
    assert!(decode(&mut decoder, &Bytes::from_static(&[0x3f, 0x45, 0x82])).is_ok(), "100 bytes");
    assert!(decode(&mut decoder, &Bytes::from_static(&[0x82])).is_ok());
}

#[test]
fn the_table_keeps_no_block_alive_and_secrets_stay_marked() {
    let mut decoder = Decoder::new(4096);
    let mut block = vec![0x40];
    block.extend_from_slice(&literal(b"kept", b"value")[1..]);
    let mut secret = literal(b"token", b"secret");
    secret[0] = 0x10;
    block.extend_from_slice(&secret);
    let block = Bytes::from(block);
    let mut fields = Vec::new();
    decoder
        .decode(&block, NO_LIMIT, |field| {
            fields.push(field);
            Ok(())
        })
        .unwrap();
    let marked = |field: &Field| matches!(field, Field::Header(_, value) if value.is_sensitive());
    assert_eq!(fields.iter().map(marked).collect::<Vec<_>>(), [false, true]);
    assert!(!block.is_unique(), "a literal that is not kept shares the block");
    fields.clear();
    assert!(block.is_unique());

    let mut out = BytesMut::new();
    let mut value = HeaderValue::from_static("secret");
    value.set_sensitive(true);
    Encoder::new().block(&mut out).header(&HeaderName::from_static("token"), &value);
    assert_eq!(out, secret);
}

/// A typical request between sidecars: only the identifiers and the path differ from one to the next.
fn request(encoder: &mut Encoder, out: &mut BytesMut, nth: u64) {
    let unique = |text: String| HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap();
    let mut block = encoder.block(out);
    block.method(&Method::GET);
    block.scheme(&Scheme::HTTP);
    block.authority("reviews.bookstore:9080");
    block.path(&format!("/reviews/{nth}?full=1"));
    block.header(&header::USER_AGENT, &HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"));
    block.header(&header::ACCEPT, &HeaderValue::from_static("application/json"));
    block.header(&HeaderName::from_static("x-request-id"), &unique(format!("{nth:032x}")));
    block.header(&HeaderName::from_static("traceparent"), &unique(format!("00-{nth:032x}-{nth:016x}-01")));
    block.header(&HeaderName::from_static("x-taut-source"), &HeaderValue::from_static("bookstore/productpage"));
    block.header(&header::AUTHORIZATION, &HeaderValue::from_static("Bearer abcdef"));
}

#[test]
fn what_repeats_costs_a_byte_and_what_does_not_leaves_the_table_alone() {
    let (mut encoder, mut decoder, mut sizes) = (Encoder::new(), Decoder::new(4096), Vec::new());
    for nth in 0..1000 {
        let mut out = BytesMut::new();
        request(&mut encoder, &mut out, nth);
        sizes.push(out.len());
        let fields = decode(&mut decoder, &out.freeze()).unwrap();
        assert_eq!(fields.len(), 10);
        assert_eq!((&*fields[3], &*fields[6]), (&*format!(":path: /reviews/{nth}?full=1"), &*format!("x-request-id: {nth:032x}")));
        assert_eq!((&*fields[2], &*fields[8]), (":authority: reviews.bookstore:9080", "x-taut-source: bookstore/productpage"));
    }
    // The path, two identifiers and the secret are said; six fields are a byte each.
    let values = "/reviews/999?full=1".len() + 32 + 55 + "Bearer abcdef".len();
    assert_eq!(sizes[999], 6 + values + 2 + 3 + 3 + 3);
    assert_eq!(table(&mut decoder).lines().count(), 6, "{}", table(&mut decoder));
}

#[test]
fn fields_that_repeat_together_are_all_kept_whatever_they_hash_to() {
    let mut dice = fastrand::Rng::with_seed(5);
    for _ in 0..500 {
        let mut encoder = Encoder::new();
        let values: Vec<HeaderValue> = (0..8).map(|_| HeaderValue::from_str(&dice.u64(..).to_string()).unwrap()).collect();
        let sizes = [(); 4].map(|()| {
            let mut out = BytesMut::new();
            let mut block = encoder.block(&mut out);
            values.iter().for_each(|value| block.header(&header::USER_AGENT, value));
            out.len()
        });
        assert_eq!(sizes[3], values.len(), "{values:?} take {sizes:?}");
    }
}

#[test]
fn a_known_request_is_read_and_written_without_allocating() {
    let (mut encoder, mut decoder, mut out) = (Encoder::new(), Decoder::new(4096), BytesMut::with_capacity(4096));
    let headers: http::HeaderMap = [(header::USER_AGENT, "curl/8.5.0"), (header::ACCEPT, "*/*"), (header::CONTENT_LENGTH, "17")]
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let mut round = || {
        let mut block = encoder.block(&mut out);
        block.method(&Method::GET);
        block.scheme(&Scheme::HTTP);
        block.authority("reviews:9080");
        block.path("/reviews/1");
        block.headers(&headers);
        let block = out.split().freeze();
        let mut count = 0;
        decoder
            .decode(&block, NO_LIMIT, |_| {
                count += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(count, 7);
    };
    (0..10).for_each(|_| round());
    let cost = allocation_counter::measure(|| (0..10).for_each(|_| round()));
    assert_eq!(cost.count_total, 0);
}

#[test]
fn both_sides_agree_whatever_comes_and_however_the_table_is_resized() {
    let mut dice = fastrand::Rng::with_seed(3);
    for mut encoder in [Encoder::new(), Encoder::compressing()] {
        let mut decoder = Decoder::new(4096);
        for round in 0..2000 {
            if dice.u8(..) < 10 {
                // Twice, as when settings change before anything is sent.
                encoder.set_max_size(dice.usize(..5000));
                encoder.set_max_size(dice.usize(..5000));
            }
            let mut said = vec![":status: 201".to_owned()];
            let mut out = BytesMut::new();
            let mut block = encoder.block(&mut out);
            block.status(StatusCode::CREATED);
            for _ in 0..dice.usize(..12) {
                let name = format!("{}-{}", dice.choice(["x-a", "grpc", "server"]).unwrap(), dice.u8(..40));
                let value = "value ".repeat(dice.usize(..30)) + &dice.u8(..4).to_string();
                block.header(&HeaderName::from_bytes(name.as_bytes()).unwrap(), &HeaderValue::from_str(&value).unwrap());
                said.push(format!("{name}: {value}"));
            }
            assert_eq!(decode(&mut decoder, &out.freeze()).as_ref(), Ok(&said), "round {round}");
        }
    }
}

#[test]
fn a_peer_without_a_table_gets_none() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(0));
    decoder.acknowledged();
    encoder.set_max_size(0);
    for nth in 0..5 {
        let mut out = BytesMut::new();
        request(&mut encoder, &mut out, nth);
        assert_eq!(decode(&mut decoder, &out.freeze()).map(|fields| fields.len()), Ok(10));
        assert_eq!(table(&mut decoder), "");
    }
}
