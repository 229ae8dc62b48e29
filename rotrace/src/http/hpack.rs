//! Given: the header blocks of one direction of an HTTP/2 connection, in order. Gives: their fields, with what cannot be
//! known as `None`. Refuses to know: frames, and what fields mean.
//!
//! A decoder that is a peer has to give a connection up when it meets an index that it does not know (RFC 7541 §2.3.3).
//! This one is a witness: it may have joined late, or missed a block. What such an index stands for is not known, and the
//! fields behind it are as right as ever. The next insertions make the table known again from its newest end; see
//! [`table`](self::table).

mod huffman;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::table::{Entry, Table, Text};
pub use self::table::{TABLE_BYTES_MAX, TABLE_BYTES_USUAL};

/// Octets of a name or a value that are decoded; a longer one is not known. It is what is kept of a target.
pub const STRING_BYTES_MAX: usize = 8 * 1024;

/// A field of a block. What is not known is `None`: it was inserted before the decoder saw the connection, or with a block
/// that was lost, or it is longer than [`STRING_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Lower case, by the rules (RFC 9113 §8.2).
    pub name: Option<&'a [u8]>,
    /// As sent.
    pub value: Option<&'a [u8]>,
}

/// Why the rest of a block is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The block ends inside a field.
    Ends,
    /// An integer has more than 28 bits behind its prefix (RFC 7541 §5.1 lets a decoder set the limit).
    Integer,
    /// Index 0 (RFC 7541 §6.1).
    Index,
    /// A string is not what its Huffman bit says (RFC 7541 §5.2).
    Huffman,
}

/// Reads header blocks. Memory is bounded by the table and two strings.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Memory that a decoder retains between blocks besides its own size. An entry takes at most three times what the protocol
/// counts it for: it has 48 bytes beside its texts, in a queue that grows by doubling.
pub const RETAINED_BYTES_MAX: usize = 3 * TABLE_BYTES_MAX + 2 * SCRATCH_BYTES;

/// Room for the strings of a field that is kept from block to block; nearly all fit.
const SCRATCH_BYTES: usize = 256;

impl Decoder {
    /// Reads a whole block and gives its fields in order. A block that is broken gives those before the break, and makes
    /// the table unknown.
    pub fn decode(&mut self, block: &[u8], each: &mut dyn FnMut(Field<'_>)) -> Result<(), Broken> {
        let mut rest = block;
        let mut result = Ok(());
        while let Some(&first) = rest.first()
            && result.is_ok()
        {
            result = self.field(first, &mut rest, each);
        }
        if result.is_err() {
            self.lose();
        }
        for scratch in [&mut self.name, &mut self.value] {
            scratch.clear();
            scratch.shrink_to(SCRATCH_BYTES);
        }
        result
    }

    /// A block was lost, or its end was: how many entries it inserted is not known.
    pub fn lose(&mut self) {
        self.table.forget();
    }

    /// Memory that the decoder takes besides its own size; at most [`RETAINED_BYTES_MAX`].
    pub fn retained_bytes(&self) -> usize {
        3 * self.table.retained_bytes() + self.name.capacity() + self.value.capacity()
    }

    /// Reads one representation (RFC 7541 §6).
    fn field(&mut self, first: u8, rest: &mut &[u8], each: &mut dyn FnMut(Field<'_>)) -> Result<(), Broken> {
        match first {
            0x80.. => {
                let index = integer(rest, 7)?;
                if index == 0 {
                    return Err(Broken::Index);
                }
                let (name, value) = self.table.field(index);
                each(Field { name, value });
            }
            0x40.. => {
                let index = integer(rest, 6)?;
                let (name, value) = self.literal(index, rest, each)?;
                self.table.insert(Entry { name, value });
            }
            0x20.. => self.table.resize(integer(rest, 5)?),
            _ => {
                let index = integer(rest, 4)?;
                self.literal(index, rest, each)?;
            }
        }
        Ok(())
    }

    /// Reads the strings of a literal, whose name has an index or is the first of them.
    fn literal(
        &mut self,
        index: usize,
        rest: &mut &[u8],
        each: &mut dyn FnMut(Field<'_>),
    ) -> Result<(Text, Text), Broken> {
        let name: Text = if index == 0 {
            string(rest, &mut self.name)?.then(|| Cow::Owned(self.name.clone()))
        } else {
            self.table.name(index)
        };
        let is_known = string(rest, &mut self.value)?;
        let value = is_known.then_some(self.value.as_slice());
        each(Field { name: name.as_deref(), value });
        Ok((name, value.map(|value| Cow::Owned(value.to_vec()))))
    }
}

/// An integer with so many bits in its first octet (RFC 7541 §5.1), of which the rest says something else.
fn integer(rest: &mut &[u8], prefix_bits: u32) -> Result<usize, Broken> {
    const MORE: u8 = 0x80;
    const OCTETS_MAX: u32 = 4;
    let most = (1usize << prefix_bits) - 1;
    let mut value = usize::from(octet(rest)?) & most;
    if value < most {
        return Ok(value);
    }
    for nth in 0..OCTETS_MAX {
        let next = octet(rest)?;
        value += usize::from(next & !MORE) << (7 * nth);
        if next & MORE == 0 {
            return Ok(value);
        }
    }
    Err(Broken::Integer)
}

/// Reads a string (RFC 7541 §5.2) and says whether it is known: it is not when it is too long.
fn string(rest: &mut &[u8], into: &mut Vec<u8>) -> Result<bool, Broken> {
    const HUFFMAN: u8 = 0x80;
    let first = *rest.first().ok_or(Broken::Ends)?;
    let length = integer(rest, 7)?;
    let (coded, behind) = rest.split_at_checked(length).ok_or(Broken::Ends)?;
    *rest = behind;
    into.clear();
    if first & HUFFMAN != 0 {
        huffman::decode(coded, into, STRING_BYTES_MAX).map_err(|huffman::NotHuffman| Broken::Huffman)?;
    } else if length <= STRING_BYTES_MAX {
        into.extend_from_slice(coded);
    } else {
        return Ok(false);
    }
    Ok(into.len() <= STRING_BYTES_MAX)
}

fn octet(rest: &mut &[u8]) -> Result<u8, Broken> {
    let (&first, behind) = rest.split_first().ok_or(Broken::Ends)?;
    *rest = behind;
    Ok(first)
}
