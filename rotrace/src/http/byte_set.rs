//! Given: which bytes belong together. Gives: whether a byte is one of them, by one look into a table. Refuses to know:
//! what they mean.

/// A set of bytes. A head and a path have hundreds to look up.
pub(crate) struct ByteSet([bool; 256]);

impl ByteSet {
    /// ASCII letters and digits, and others.
    pub(crate) const fn letters_digits_and(others: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            set[byte] = (byte as u8).is_ascii_alphanumeric() || contains(others, byte as u8);
            byte += 1;
        }
        ByteSet(set)
    }

    /// ASCII lower-case letters and digits, and others.
    pub(crate) const fn lower_digits_and(others: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let letter_or_digit = (byte as u8).is_ascii_lowercase() || (byte as u8).is_ascii_digit();
            set[byte] = letter_or_digit || contains(others, byte as u8);
            byte += 1;
        }
        ByteSet(set)
    }

    /// ASCII characters that leave a mark, but for some.
    pub(crate) const fn graphic_except(others: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            set[byte] = (byte as u8).is_ascii_graphic() && !contains(others, byte as u8);
            byte += 1;
        }
        ByteSet(set)
    }

    /// Whether the byte belongs to them.
    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }
}

const fn contains(bytes: &[u8], wanted: u8) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == wanted {
            return true;
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_in_or_out() {
        let members = |set: ByteSet| (0..=255).filter(|&byte| set.has(byte)).collect::<Vec<u8>>();
        let letters = members(ByteSet::letters_digits_and(b"-_\xff"));
        assert_eq!(letters, *b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz\xff");
        let lower = members(ByteSet::lower_digits_and(b"-"));
        assert_eq!(lower, *b"-0123456789abcdefghijklmnopqrstuvwxyz");
        let graphic = members(ByteSet::graphic_except(b"\"\\"));
        assert_eq!(graphic.len(), 94 - 2);
        assert!(graphic.iter().all(|byte| (b'!'..=b'~').contains(byte) && !b"\"\\".contains(byte)));
    }
}
