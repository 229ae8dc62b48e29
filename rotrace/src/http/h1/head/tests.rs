//! Given: heads. Gives: whether what is read of them is what stands there. Refuses to know: how it is read.

use super::*;

fn check_request(head: &str, expect: &str) {
    let Some(request) = request(head.as_bytes()) else {
        assert_eq!("none", expect, "{head:?}");
        return;
    };
    let mut framing = Framing::default();
    let mut host = None;
    for field in request.fields.clone() {
        framing.note(field);
        host = host.or(field.value_of(b"host"));
    }
    let got = format!(
        "{} {} {} {:?} {:?}{}{}",
        request.method,
        String::from_utf8_lossy(request.target),
        request.protocol.name(),
        request.authority(host, None),
        framing.declared(),
        if framing.is_ambiguous() { " ambiguous" } else { "" },
        if request.is_certain() { " certain" } else { "" },
    );
    assert_eq!(got, expect, "{head:?}");
}

#[test]
fn start_lines_of_requests() {
    check_request("GET / HTTP/1.0\r\n\r\n", "GET / http/1.0 None Nothing certain");
    check_request("GET / HTTP/1.1\r\n\r\n", "GET / http/1.1 None Nothing");
    check_request("get /a?b=c HTTP/1.1\nhost:A.b\n\n", "get /a?b=c http/1.1 Some(\"a.b\") Nothing certain");
    check_request("M-S!  /a b  HTTP/1.3\r\n\r\n", "M-S! /a b http/1.1 None Nothing");
    check_request(
        "OPTIONS * HTTP/1.1\r\nHost: h:80\r\n\r\n",
        "OPTIONS * http/1.1 Some(\"h:80\") Nothing certain",
    );
    check_request("CONNECT H:443 HTTP/1.1\r\n\r\n", "CONNECT H:443 http/1.1 Some(\"h:443\") Nothing");
    check_request(
        "GET http://u:p@H:81/a HTTP/1.0\r\nHost: b\r\n\r\n",
        "GET http://u:p@H:81/a http/1.0 Some(\"h:81\") Nothing certain",
    );
    check_request("GET http://h?a HTTP/1.0\r\n\r\n", "GET http://h?a http/1.0 Some(\"h\") Nothing certain");
    check_request("GET /a://b/c HTTP/1.1\r\nHost:\r\n\r\n", "GET /a://b/c http/1.1 None Nothing certain");
    check_request("GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /a http/1.1 None Nothing certain");
    for head in ["\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET  HTTP/1.1\r\n\r\n", " / HTTP/1.1\r\n\r\n"] {
        check_request(head, "none");
    }
    for head in [
        "G(T / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
    ] {
        check_request(head, "none");
    }
    check_request(&format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(65)), "none");
}

#[test]
fn a_target_that_is_not_utf_8_is_a_target() {
    let request = request(b"GET /\xff\x80 HTTP/1.1\r\nA: \xff\r\n\r\n").expect("a head");
    assert_eq!(request.target, b"/\xff\x80");
    let value = request.fields.clone().find_map(|field| field.value_of(b"a"));
    assert_eq!(value.map(|value| text(value, 9)).as_deref(), Some("\u{fffd}"));
}

#[test]
fn lines_that_are_no_fields_are_passed_over_and_make_a_head_uncertain() {
    let head = "GET / HTTP/1.1\r\nno colon\r\nHost : h\r\n: x\r\n\r\n";
    check_request(head, "GET / http/1.1 Some(\"h\") Nothing");
    check_request("GET / HTTP/1.1\r\n folded\r\nHost: h\r\n\r\n", "GET / http/1.1 Some(\"h\") Nothing");
    check_request("GET / HTTP/1.1\r\nHost: h\r\nA: \u{1}\r\n\r\n", "GET / http/1.1 Some(\"h\") Nothing");
}

#[test]
fn folded_values_are_one_value() {
    let head = b"GET / HTTP/1.1\r\nA: b\r\n  c\r\n\td\r\nE: f\r\n\r\n";
    let fields = request(head).expect("a head").fields;
    let values = |name: &[u8]| -> Vec<_> {
        fields.clone().filter_map(|field| field.value_of(name)).map(|value| text(value, 99)).collect()
    };
    assert_eq!([values(b"a"), values(b"e")], [["b c d".into()], ["f".into()]] as [[Box<str>; 1]; 2]);
}

#[test]
fn a_field_has_the_name_before_its_colon() {
    let value = |line: &str, name: &str| {
        let value = Field { line: line.as_bytes() }.value_of(name.as_bytes())?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    for line in ["Host: b", "host:b", "HOST \t:\tb ", "host\r\n : b"] {
        assert_eq!(value(line, "host").as_deref(), Some("b"), "{line:?}");
    }
    assert_eq!(value("host:", "host").as_deref(), Some(""));
    for line in ["", "h", "host", "host b: c", "hosts: b", ": host", " host: b", "hos: t:", "jost: b"] {
        assert_eq!(value(line, "host"), None, "{line:?}");
    }
}

#[test]
fn an_authority_is_that_of_the_last_request_only_when_it_is_the_same() {
    let request = request(b"GET / HTTP/1.1\r\n\r\n").expect("a head");
    let check = |host: &str, last: &Arc<str>, expect: Option<&str>| {
        let authority = request.authority(Some(host.as_bytes()), Some(last));
        assert_eq!(authority.as_deref(), expect);
        authority.is_some_and(|authority| Arc::ptr_eq(&authority, last))
    };
    let last = "a.b:80".into();
    assert!(check("A.b:80", &last, Some("a.b:80")));
    assert!(!check("u:p@a.b:80", &last, Some("a.b:80")));
    assert!(!check("a.b", &last, Some("a.b")));
    assert!(!check("a b", &last, None));
}

#[test]
fn a_long_value_is_cut() {
    assert_eq!([&*text(b"bcdef", 3), &*text(b"bc", 3)], ["bcd", "bc"]);
}

#[test]
fn framing_of_bodies() {
    let check = |fields: &str, expect: &str| {
        check_request(&format!("GET / HTTP/1.0\r\n{fields}\r\n"), &format!("GET / http/1.0 None {expect}"));
    };
    check("", "Nothing certain");
    check("Content-Length: 5\r\n", "Length(5) certain");
    check("content-length:\t007 \r\n", "Length(7) certain");
    check("Content-Length: 18446744073709551615\r\n", "Length(18446744073709551615) certain");
    check("Content-Length: 18446744073709551616\r\n", "Invalid certain");
    check("Content-Length: 5, 5\r\n", "Length(5) ambiguous certain");
    check("Content-Length: 5\r\nContent-Length: 5\r\n", "Length(5) ambiguous certain");
    check("Content-Length: 5\r\nContent-Length: 6\r\nContent-Length: 5\r\n", "Invalid ambiguous certain");
    check("Content-Length: 5, 6\r\n", "Invalid ambiguous certain");
    for value in ["", "+5", "-5", "0x5", "5 5", "5.0"] {
        check(&format!("Content-Length: {value}\r\n"), "Invalid certain");
    }
    check("Transfer-Encoding: chunked\r\n", "Chunked certain");
    check("transfer-encoding: gzip ,\tChUnKeD ,\r\n", "Chunked certain");
    check("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "Chunked certain");
    check("Transfer-Encoding: gzip,\r\n chunked\r\n", "Chunked certain");
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", "Chunked certain");
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", "OtherCoding certain");
    check("Transfer-Encoding: chunked, gzip\r\n", "OtherCoding certain");
    check("Transfer-Encoding: xchunked\r\n", "OtherCoding certain");
    check("Transfer-Encoding:\r\n", "OtherCoding certain");
    check("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Chunked ambiguous certain");
    check("Transfer-Encoding : chunked\r\n", "Chunked");
}

#[test]
fn start_lines_of_responses() {
    let check = |line: &str, expect| {
        let head = format!("{line}\r\nA: b\r\n\r\n");
        let got = response(head.as_bytes()).map(|response| (response.status, response.fields.count()));
        assert_eq!(got, expect, "{line:?}");
    };
    check("HTTP/1.1 200 OK", Some((200, 1)));
    check("HTTP/1.0 404 Not Found", Some((404, 1)));
    check("HTTP/1.1 204", Some((204, 1)));
    check("HTTP/1.1 204 ", Some((204, 1)));
    check("HTTP/1.1  999 \u{e9}", Some((999, 1)));
    for line in [
        "",
        "HTTP/1.1",
        "HTTP/1.1 20",
        "HTTP/1.1 2000",
        "HTTP/1.1 099",
        "HTTP/2.0 200",
        "http/1.1 200",
        "ICY 200 OK",
    ] {
        check(line, None);
    }
}
