//! Given: any bytes. Gives: whether they decode as records without a panic, and keep what the contract promises.
//! Refuses to know: who wrote them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rotrace_ebpf::record::{HEADER_BYTES, OPEN_BYTES, Record, kind};

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = Record::decode(bytes) else { return };
    assert_eq!(record.payload.len() + HEADER_BYTES, record.header.length as usize);
    if record.header.kind == kind::DATA {
        assert!(record.payload.len() as u64 <= record.header.size);
    }
    assert_eq!(record.open().is_some(), record.header.kind == kind::OPEN);
    if let Some(open) = record.open() {
        assert_eq!(open.to_bytes().as_slice(), &record.payload[..OPEN_BYTES]);
    }
    assert_eq!(record.header.to_bytes().as_slice(), &bytes[..HEADER_BYTES]);
});
