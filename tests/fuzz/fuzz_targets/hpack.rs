//! Given: any bytes, read as header blocks of one direction. Gives: whether the decoder takes them without a panic and
//! within its memory, and whether one that joins later, or loses blocks, says nothing else than one that has seen all.
//! Refuses to know: what the fields should be.
//!
//! Each block begins with a byte: the uppermost bit says whether it is lost to the second decoder; the others are its
//! length. The first byte of the input says from which block on the second decoder is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rotrace::http::hpack::{Decoder, RETAINED_BYTES_MAX};

type Known = (Option<Vec<u8>>, Option<Vec<u8>>);

fuzz_target!(|input: &[u8]| {
    let Some((&joins, mut blocks)) = input.split_first() else { return };
    let (mut whole, mut witness) = (Decoder::default(), Decoder::default());
    witness.lose();
    for number in 0u32.. {
        let Some((&control, rest)) = blocks.split_first() else { return };
        let (block, rest) = rest.split_at(usize::from(control & 0x7f).min(rest.len()));
        blocks = rest;
        let (all, is_good) = fields(&mut whole, block);
        if number < u32::from(joins) {
            continue;
        }
        if control & 0x80 != 0 {
            witness.lose();
            continue;
        }
        let (seen, seen_is_good) = fields(&mut witness, block);
        assert_eq!((seen.len(), seen_is_good), (all.len(), is_good));
        for (seen, all) in seen.iter().zip(&all) {
            agree(&seen.0, &all.0);
            agree(&seen.1, &all.1);
        }
    }
});

/// What both know is the same. A table whose size one of them does not know may hold more than the other's.
fn agree(one: &Option<Vec<u8>>, other: &Option<Vec<u8>>) {
    if let (Some(one), Some(other)) = (one, other) {
        assert_eq!(one, other);
    }
}

fn fields(decoder: &mut Decoder, block: &[u8]) -> (Vec<Known>, bool) {
    let mut known = Vec::new();
    let result = decoder.decode(block, &mut |field| {
        known.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec)));
    });
    assert!(decoder.retained_bytes() <= RETAINED_BYTES_MAX);
    (known, result.is_ok())
}
