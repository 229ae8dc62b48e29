//! Given: any bytes, read as pieces of one direction of a WebSocket. Gives: whether what the probes copy of it, record by record,
//! tells the daemon the same as all bytes would, whatever they are and however they are cut; and whether no more is told when
//! records are lost. Refuses to know: what the frames should be.
//!
//! The first byte of the input says which side sends. Then each piece begins with a byte: the uppermost bit says that its
//! records are lost; the others are its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rotrace::http::websocket::{FrameReader, Sender, Tally};
use rotrace_ebpf::classify::Prefix;
use rotrace_ebpf::frames::{Frames, Part};
use rotrace_ebpf::limits::ALWAYS_COPIED_BYTES;
use rotrace_ebpf::memory::Bytes;

fuzz_target!(|input: &[u8]| {
    let Some((&side, mut rest)) = input.split_first() else { return };
    let sender = if side % 2 == 0 { Sender::Client } else { Sender::Server };
    let (mut frames, mut held) = (Frames::FIRST, Prefix::EMPTY);
    let [mut whole, mut told, mut less] = [(); 3].map(|()| (FrameReader::new(sender), Tally::default()));
    let mut all_bytes = 0;
    while let Some((&control, behind)) = rest.split_first() {
        let (piece, behind) = behind.split_at(usize::from(control & 0x7f).min(behind.len()));
        rest = behind;
        all_bytes += piece.len() as u64;
        whole.1 += whole.0.bytes(piece);
        let mut at = 0;
        while at < piece.len() {
            let (address, size) = (1 + at as u64, (piece.len() - at) as u64);
            let (Part { size, captured }, begins) = if frames.is_in_header(&held) {
                let part = frames.part_of_header(&mut held, sender as u32, &Bytes(piece), address, size);
                (part, false)
            } else {
                frames.part_of_frames(&mut held, sender as u32, &Bytes(piece), address, size)
            };
            assert!(size > 0 && captured <= size && captured <= ALWAYS_COPIED_BYTES);
            let record = &piece[at..at + size as usize];
            let (copied, passed) = record.split_at(captured as usize);
            read(&mut told, copied, passed.len() as u64, begins);
            if control & 0x80 == 0 {
                read(&mut less, copied, passed.len() as u64, begins);
            } else {
                less.1 += less.0.gap(size);
            }
            at += size as usize;
        }
    }
    for (reader, tally) in [&mut whole, &mut told, &mut less] {
        *tally += reader.end();
    }
    // Behind a header that is none nothing is known, and the probes take no continuation for the first frame.
    if whole.1.unknown_bytes == 0 && !frames.is_other() {
        assert_eq!(told.1, whole.1);
        assert!(less.1.data_frames <= whole.1.data_frames && less.1.messages <= whole.1.messages);
        assert!(less.1.control_frames <= whole.1.control_frames);
        assert!(less.1.payload_bytes <= whole.1.payload_bytes);
    }
    assert!(told.1.payload_bytes + told.1.unknown_bytes <= all_bytes);
});

fn read((reader, tally): &mut (FrameReader, Tally), copied: &[u8], passed: u64, begins: bool) {
    if begins {
        reader.begin();
    }
    *tally += reader.bytes(copied);
    *tally += reader.gap(passed);
}
