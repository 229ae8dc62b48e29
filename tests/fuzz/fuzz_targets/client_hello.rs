//! Given: any bytes. Gives: whether they are read as the start of a stream without a panic, and whether a cut
//! ClientHello says less, never something else. Refuses to know: what they mean.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rotrace::http::sniff::{ALPN_MAX, client_hello_server_name, sniff};

fuzz_target!(|bytes: &[u8]| {
    sniff(bytes);
    let whole = client_hello_server_name(bytes);
    assert!(whole.alpn.len() <= ALPN_MAX);
    let cut = client_hello_server_name(&bytes[..bytes.len() / 2]);
    assert!(cut.server_name.is_none() || cut.server_name == whole.server_name);
    assert!(whole.alpn.starts_with(&cut.alpn));
});
