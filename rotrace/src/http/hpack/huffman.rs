//! Given: a Huffman-coded string (RFC 7541 §5.2). Gives: its octets, or that it is none. Refuses to know: what it is part
//! of.
//!
//! The code of RFC 7541 Appendix B is canonical: codes of one length are consecutive numbers in the order of their symbols,
//! and begin where the shorter ones end. So the symbols in order, and how many have codes of each length, say all of it.

/// The bytes are no Huffman-coded string: EOS is in it, or the padding is longer than 7 bits or not all ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHuffman;

/// Octets by the lengths of their codes, then by value.
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95,
    98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77,
    78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88,
    90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208,
    128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230,
    129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
    196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158,
    165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206,
    215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
    2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127,
    220, 249, 10, 13, 22,
];

/// How many symbols have a code of so many bits, by length from 0.
const COUNTS: [u32; 31] =
    [0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 3];

/// Codes of one length.
#[derive(Clone, Copy)]
struct Level {
    bits: u32,
    first_code: u32,
    codes: u32,
    /// Place of the first one's symbol.
    place: u32,
}

const LEVELS: [Level; COUNTS.len()] = levels();

/// What the first 8 bits of a code say: its symbol and length; length 0 when it is longer. Nearly all text is of these.
const SHORT: [(u8, u32); 256] = short();

const fn levels() -> [Level; COUNTS.len()] {
    let mut levels = [Level { bits: 0, first_code: 0, codes: 0, place: 0 }; COUNTS.len()];
    let (mut bits, mut code, mut place) = (0, 0, 0);
    while bits < COUNTS.len() {
        code <<= 1;
        levels[bits] = Level { bits: bits as u32, first_code: code, codes: COUNTS[bits], place };
        code += COUNTS[bits];
        place += COUNTS[bits];
        bits += 1;
    }
    levels
}

const fn short() -> [(u8, u32); 256] {
    let mut table = [(0, 0); 256];
    let mut bits = 1;
    while bits <= 8 {
        let Level { first_code, codes, place, .. } = LEVELS[bits];
        let mut nth = 0;
        while nth < codes {
            let shift = 8 - bits;
            let first = ((first_code + nth) << shift) as usize;
            let mut at = first;
            while at < first + (1 << shift) {
                table[at] = (SYMBOLS[(place + nth) as usize], bits as u32);
                at += 1;
            }
            nth += 1;
        }
        bits += 1;
    }
    table
}

/// Decodes behind what `into` holds, until it holds more than `most` octets.
pub(super) fn decode(coded: &[u8], into: &mut Vec<u8>, most: usize) -> Result<(), NotHuffman> {
    let mut rest = coded.iter();
    // The lowest `held` bits of the window are to be read; what stands above them has been.
    let (mut window, mut held) = (0u64, 0u32);
    while into.len() <= most {
        while held <= 32
            && let Some(&byte) = rest.next()
        {
            window = window << 8 | u64::from(byte);
            held += 8;
        }
        // The next 32 bits, where there are fewer with ones behind them, as padding has.
        let next = if held >= 32 {
            (window >> (held - 32)) as u32
        } else {
            (window << (32 - held)) as u32 | u32::MAX.checked_shr(held).unwrap_or(0)
        };
        match symbol(next) {
            Some((symbol, bits)) if bits <= held => {
                into.push(symbol);
                held -= bits;
            }
            _ if held < 8 && next == u32::MAX => return Ok(()),
            _ => return Err(NotHuffman),
        }
    }
    Ok(())
}

/// The symbol whose code begins `next`, and how many bits it has; `None` for EOS.
fn symbol(next: u32) -> Option<(u8, u32)> {
    let short = *SHORT.get((next >> 24) as usize)?;
    if short.1 > 0 {
        return Some(short);
    }
    for &Level { bits, first_code, codes, place } in LEVELS.iter().skip(9) {
        let nth = (next >> (32 - bits)).wrapping_sub(first_code);
        if nth < codes {
            return Some((*SYMBOLS.get((place + nth) as usize)?, bits));
        }
    }
    None
}

/// The code of a string, for tests of what decodes it.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut coded, mut window, mut held) = (Vec::new(), 0u64, 0u32);
    for byte in text {
        let place = SYMBOLS.iter().position(|symbol| symbol == byte).expect("every octet is a symbol") as u32;
        let level = LEVELS.iter().rfind(|level| level.place <= place && level.codes > 0).expect("a level");
        window = window << level.bits | u64::from(level.first_code + place - level.place);
        held += level.bits;
        while held >= 8 {
            coded.push((window >> (held - 8)) as u8);
            held -= 8;
        }
    }
    if held > 0 {
        coded.push((window << (8 - held)) as u8 | (0xff >> held));
    }
    coded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(coded: &[u8], expect: Result<&[u8], NotHuffman>) {
        let mut text = Vec::new();
        let decoded = decode(coded, &mut text, 1000);
        assert_eq!(decoded.map(|()| text.as_slice()), expect, "{coded:x?}");
    }

    #[test]
    fn the_examples_of_the_rfc() {
        check(
            &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
            Ok(b"www.example.com"),
        );
        check(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], Ok(b"no-cache"));
        check(&[0x64, 0x02], Ok(b"302"));
        check(&[], Ok(b""));
    }

    #[test]
    fn padding_is_short_and_all_ones() {
        check(&[0x1f], Ok(b"a"));
        check(&[0x1e], Err(NotHuffman));
        check(&[0x1f, 0xff], Err(NotHuffman));
        check(&[0xff], Err(NotHuffman));
        check(&[0xff, 0xff, 0xff, 0xff], Err(NotHuffman));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Err(NotHuffman));
    }

    #[test]
    fn no_more_is_decoded_than_asked_for() {
        let mut text = Vec::new();
        assert_eq!(decode(&[0; 100], &mut text, 5), Ok(()));
        assert_eq!(text, b"000000");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut decoded = Vec::new();
            prop_assert_eq!(decode(&encode(&text), &mut decoded, 100), Ok(()));
            prop_assert_eq!(decoded, text);
        }

        #[test]
        fn any_bytes_are_taken(coded in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut text = Vec::new();
            if decode(&coded, &mut text, 1000).is_ok() {
                prop_assert_eq!(encode(&text), coded, "one text has one code");
            }
        }
    }
}
