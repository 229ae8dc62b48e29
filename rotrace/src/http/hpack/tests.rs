//! Given: header blocks of our own encoding, the examples of RFC 7541, and any bytes. Gives: whether the decoder says what
//! was encoded, and of what it cannot know that it cannot. Refuses to know: how it decodes.

use super::*;
use proptest::prelude::*;

type Pair = (Vec<u8>, Vec<u8>);
type Decoded = (Option<Vec<u8>>, Option<Vec<u8>>);

fn decode(decoder: &mut Decoder, block: &[u8]) -> (Vec<Decoded>, Result<(), Broken>) {
    let mut fields = Vec::new();
    let to_owned = |text: Option<&[u8]>| text.map(<[u8]>::to_vec);
    let result =
        decoder.decode(block, &mut |field| fields.push((to_owned(field.name), to_owned(field.value))));
    assert!(decoder.retained_bytes() <= RETAINED_BYTES_MAX, "{}", decoder.retained_bytes());
    (fields, result)
}

fn show(text: &Option<Vec<u8>>) -> String {
    text.as_ref().map_or("?".into(), |text| String::from_utf8_lossy(text).into_owned())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

/// Decodes blocks in hexadecimal, one a line, and compares the fields of each, a line as well.
fn check(blocks: &str, expect: &[&str]) {
    let mut decoder = Decoder::default();
    let mut got = Vec::new();
    for block in blocks.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if block == "lost" {
            decoder.lose();
            continue;
        }
        let (fields, result) = decode(&mut decoder, &hex(block));
        let mut line: Vec<_> =
            fields.iter().map(|(name, value)| format!("{}={}", show(name), show(value))).collect();
        line.extend(result.err().map(|broken| format!("{broken:?}")));
        got.push(line.join(" "));
    }
    assert_eq!(got, expect);
}

const REQUESTS: &str = "
    828684418cf1e3c2e5f23a6ba0ab90f4ff
    828684be5886a8eb10649cbf
    828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf";

#[test]
fn requests_of_the_rfc() {
    check(
        REQUESTS,
        &[
            ":method=GET :scheme=http :path=/ :authority=www.example.com",
            ":method=GET :scheme=http :path=/ :authority=www.example.com cache-control=no-cache",
            ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value",
        ],
    );
}

#[test]
fn without_the_first_block_its_insertions_are_not_known_and_all_else_is() {
    let (_, behind_the_first) = REQUESTS.trim().split_once('\n').expect("blocks");
    check(
        behind_the_first,
        &[
            ":method=GET :scheme=http :path=/ ?=? cache-control=no-cache",
            ":method=GET :scheme=https :path=/index.html ?=? custom-key=custom-value",
        ],
    );
    let lost = REQUESTS.trim().replacen('\n', "\nlost\n", 1);
    check(
        &lost,
        &[
            ":method=GET :scheme=http :path=/ :authority=www.example.com",
            ":method=GET :scheme=http :path=/ ?=? cache-control=no-cache",
            ":method=GET :scheme=https :path=/index.html ?=? custom-key=custom-value",
        ],
    );
}

#[test]
fn a_literal_whose_name_is_not_known_has_its_value_and_is_an_entry() {
    // Index 62 is behind the window; then the new entry by its index.
    check("7e 03 61 62 63 \n be \n 0f 2f 01 64 \n 0f 30 01 64", &["?=abc", "?=abc", "?=d", "?=d"]);
}

#[test]
fn sizes_bound_the_window() {
    check(
        "3fe11f 4001 61 01 62 \n be \n 20 be \n 3fe11f 4001 63 01 64 be",
        &["a=b", "a=b", "?=?", "c=d c=d"],
    );
}

#[test]
fn a_broken_block_gives_what_stands_before_the_break() {
    check("82 80", &[":method=GET Index"]);
    check("82 ff ff ff ff ff ff", &[":method=GET Integer"]);
    check("82 41 8c f1e3", &[":method=GET Ends"]);
    check("82 41 81 00 ff", &[":method=GET Huffman"]);
    check("40 01 61 01 62 \n 80 \n be", &["a=b", "Index", "?=?"]);
    check("3f", &["Ends"]);
    check("40", &["Ends"]);
}

#[test]
fn a_long_value_is_not_known_and_the_next_field_is() {
    let raw = |length: usize| {
        let mut block = vec![0x00, 1, b'a', 0x7f];
        let mut rest = length - 127;
        while rest >= 128 {
            block.push(0x80 | (rest % 128) as u8);
            rest /= 128;
        }
        block.push(rest as u8);
        block.extend(vec![b'x'; length]);
        block.push(0x82);
        block
    };
    for (length, known) in [(STRING_BYTES_MAX, true), (STRING_BYTES_MAX + 1, false)] {
        let (fields, result) = decode(&mut Decoder::default(), &raw(length));
        assert_eq!((fields.len(), result), (2, Ok(())));
        assert_eq!(fields[0].1.is_some(), known, "{length}");
    }
}

/// How a field is written.
#[derive(Clone, Copy, Debug)]
struct How {
    representation: u8,
    huffman: bool,
}

/// An encoder as RFC 7541 has it, with a table of its own: the newest entry first, evicted by size.
struct Encoder {
    entries: Vec<Pair>,
    most_bytes: usize,
}

impl Encoder {
    fn field(&mut self, (name, value): &Pair, how: How, block: &mut Vec<u8>) {
        let place = |is: &dyn Fn(&Pair) -> bool| self.entries.iter().position(is).map(|place| place + 62);
        let whole = place(&|entry| entry == &(name.clone(), value.clone()));
        let named = place(&|entry| &entry.0 == name);
        if let (Some(index), 0) = (whole, how.representation) {
            return number(index, 7, 0x80, block);
        }
        let (bits, pattern) = match how.representation {
            0 | 1 => (6, 0x40),
            2 => (4, 0x00),
            _ => (4, 0x10),
        };
        number(named.unwrap_or(0), bits, pattern, block);
        if named.is_none() {
            text(name, how, block);
        }
        text(value, how, block);
        if bits == 6 {
            self.entries.insert(0, (name.clone(), value.clone()));
            self.evict();
        }
    }

    fn resize(&mut self, bytes: usize, block: &mut Vec<u8>) {
        number(bytes, 5, 0x20, block);
        self.most_bytes = bytes;
        self.evict();
    }

    fn evict(&mut self) {
        let size = |entries: &[Pair]| {
            entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>()
        };
        while size(&self.entries) > self.most_bytes {
            self.entries.pop();
        }
    }
}

fn number(value: usize, bits: u32, pattern: u8, block: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if value < most {
        return block.push(pattern | value as u8);
    }
    block.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        block.push(0x80 | (rest % 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}

fn text(text: &[u8], how: How, block: &mut Vec<u8>) {
    let coded = if how.huffman { huffman::encode(text) } else { text.to_vec() };
    number(coded.len(), 7, if how.huffman { 0x80 } else { 0 }, block);
    block.extend(coded);
}

/// A step of an encoder: a block of fields, perhaps behind a new size of the table.
type Step = (Option<usize>, Vec<(Pair, How)>);

fn step() -> impl Strategy<Value = Step> {
    let name = prop_oneof!["[a-c]", "[:a-z-]{1,12}"].prop_map(String::into_bytes);
    let value = prop_oneof!["[x-z]", "[ -~]{0,40}"].prop_map(String::into_bytes);
    let how = (0u8..4, any::<bool>()).prop_map(|(representation, huffman)| How { representation, huffman });
    let size =
        prop_oneof![4 => Just(None), 1 => (0usize..300).prop_map(Some), 1 => (0usize..9000).prop_map(Some)];
    (size, prop::collection::vec(((name, value), how), 0..8))
}

fn encode(steps: &[Step]) -> Vec<(Vec<Pair>, Vec<u8>)> {
    let mut encoder = Encoder { entries: Vec::new(), most_bytes: TABLE_BYTES_USUAL };
    let block = |(size, fields): &Step| {
        let mut block = Vec::new();
        if let Some(bytes) = size {
            encoder.resize(*bytes, &mut block);
        }
        fields.iter().for_each(|(pair, how)| encoder.field(pair, *how, &mut block));
        (fields.iter().map(|(pair, _)| pair.clone()).collect(), block)
    };
    steps.iter().map(block).collect()
}

/// Every field is there, and what is said of it is so.
fn agrees(decoded: &[Decoded], fields: &[Pair]) -> bool {
    let is_so = |said: &Option<Vec<u8>>, text: &Vec<u8>| said.as_ref().is_none_or(|said| said == text);
    decoded.len() == fields.len()
        && decoded
            .iter()
            .zip(fields)
            .all(|(said, field)| is_so(&said.0, &field.0) && is_so(&said.1, &field.1))
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(steps in prop::collection::vec(step(), 0..12)) {
        let mut decoder = Decoder::default();
        for (fields, block) in encode(&steps) {
            let (decoded, result) = decode(&mut decoder, &block);
            prop_assert_eq!(result, Ok(()));
            let expect: Vec<Decoded> = fields.into_iter().map(|(name, value)| (Some(name), Some(value))).collect();
            prop_assert_eq!(decoded, expect);
        }
    }

    #[test]
    fn what_is_decoded_late_or_behind_a_loss_is_right_or_not_known(
        steps in prop::collection::vec(step(), 1..16), lost in prop::collection::vec(any::<bool>(), 16)
    ) {
        let mut decoder = Decoder::default();
        for ((fields, block), lost) in encode(&steps).into_iter().zip(lost) {
            if lost {
                decoder.lose();
                continue;
            }
            let (decoded, result) = decode(&mut decoder, &block);
            prop_assert_eq!(result, Ok(()));
            prop_assert!(agrees(&decoded, &fields), "{:?} for {:?}", decoded, fields);
        }
    }

    #[test]
    fn a_block_that_is_cut_gives_its_first_fields(steps in prop::collection::vec(step(), 1..6), cut in 0usize..200) {
        let mut decoder = Decoder::default();
        let mut blocks = encode(&steps);
        let Some((fields, last)) = blocks.pop() else { return Ok(()) };
        for (_, block) in blocks {
            decode(&mut decoder, &block).1.expect("whole blocks");
        }
        let (decoded, _) = decode(&mut decoder, &last[..cut.min(last.len())]);
        prop_assert!(decoded.len() <= fields.len());
        prop_assert!(agrees(&decoded, &fields[..decoded.len()]));
    }

    #[test]
    fn any_blocks_are_taken(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let mut decoder = Decoder::default();
        for block in &blocks {
            let _ = decode(&mut decoder, block);
        }
    }
}
