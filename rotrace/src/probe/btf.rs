//! Given: the bytes of a kernel's BTF. Gives: the offset of a member of a structure, through anonymous structures and
//! unions, and the value of an enumerator. Refuses to know: which members are wanted, and where the bytes come from. Any bytes are walked without panic.
//!
//! Format: Documentation/bpf/btf.rst of the kernel. aya reads BTF too, but offers no member look-up.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
/// Nested anonymous structures that are looked into; the kernel's deepest is 5.
const DEPTH_MAX: u32 = 16;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// The types of a kernel.
#[derive(Debug)]
pub struct Btf<'a> {
    strings: &'a [u8],
    types: Vec<Type<'a>>,
    structures: HashMap<&'a [u8], u32>,
}

#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    kind: u32,
    count: u32,
    /// Members carry a bit-field size beside their offset.
    bit_fields: bool,
    /// The type that a modifier or typedef stands for.
    target: u32,
    members: &'a [u8],
}

/// Why bytes are not the BTF of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They do not begin with the magic number in this machine's byte order.
    Magic,
    /// They end within a header, a type or a name.
    Truncated,
    /// A kind of type that this reader does not know, so that its length is not known either.
    Kind(u32),
}

impl<'a> Btf<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let word = |at: usize| word(bytes, at).ok_or(Malformed::Truncated);
        let (magic, _) = bytes.split_first_chunk::<2>().ok_or(Malformed::Truncated)?;
        if u16::from_ne_bytes(*magic) != MAGIC {
            return Err(Malformed::Magic);
        }
        let header = word(4)? as usize;
        let part = |offset: u32, length: u32| {
            let start = header.checked_add(offset as usize)?;
            bytes.get(start..start.checked_add(length as usize)?)
        };
        let mut rest = part(word(8)?, word(12)?).ok_or(Malformed::Truncated)?;
        let strings = part(word(16)?, word(20)?).ok_or(Malformed::Truncated)?;
        let mut types = vec![Type { kind: 0, count: 0, bit_fields: false, target: 0, members: &[] }];
        let mut structures = HashMap::new();
        while !rest.is_empty() {
            let (name, parsed, behind) = one_type(rest)?;
            if matches!(parsed.kind, KIND_STRUCT | KIND_UNION) {
                let name = text(strings, name);
                if !name.is_empty() {
                    structures.entry(name).or_insert(types.len() as u32);
                }
            }
            types.push(parsed);
            rest = behind;
        }
        Ok(Btf { strings, types, structures })
    }

    /// Offset in bytes of `member` in `structure`; `None` when there is no such member or it is a bit field.
    pub fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        let id = *self.structures.get(structure.as_bytes())?;
        let bits = self.offset_in(id, member.as_bytes(), DEPTH_MAX)?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// The value of a constant of an enumeration; `None` when no enumeration has it.
    pub fn enumerator(&self, wanted: &str) -> Option<u32> {
        let enumerations = self.types.iter().filter(|found| found.kind == KIND_ENUM);
        let constants = enumerations.flat_map(|found| found.members.as_chunks::<8>().0);
        let mut named = constants.filter_map(|constant| Some((word(constant, 0)?, word(constant, 4)?)));
        named.find(|&(name, _)| text(self.strings, name) == wanted.as_bytes()).map(|(_, value)| value)
    }

    fn offset_in(&self, id: u32, wanted: &[u8], depth: u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let of = self.types.get(id as usize)?;
        if !matches!(of.kind, KIND_STRUCT | KIND_UNION) {
            let target = of.target;
            return matches!(of.kind, 8..=11 | 18).then(|| self.offset_in(target, wanted, depth)).flatten();
        }
        for index in 0..of.count as usize {
            let name = text(self.strings, word(of.members, index * 12)?);
            let target = word(of.members, index * 12 + 4)?;
            let place = word(of.members, index * 12 + 8)?;
            let (bits, width) = if of.bit_fields { (place & 0xff_ffff, place >> 24) } else { (place, 0) };
            if name == wanted {
                return (width == 0).then_some(bits);
            }
            if name.is_empty()
                && let Some(inner) = self.offset_in(target, wanted, depth)
            {
                return bits.checked_add(inner);
            }
        }
        None
    }
}

/// The type at the start of `bytes`: its name, itself, and what stands behind it.
fn one_type(bytes: &[u8]) -> Result<(u32, Type<'_>, &[u8]), Malformed> {
    let at = |at: usize| word(bytes, at).ok_or(Malformed::Truncated);
    let (name, info, target) = (at(0)?, at(4)?, at(8)?);
    let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
    let members = match kind {
        2 | 7..=12 | 16 | 18 => 0,
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count as usize,
        KIND_ENUM | KIND_FUNC_PROTO => 8 * count as usize,
        other => return Err(Malformed::Kind(other)),
    };
    let members_of = bytes.get(12..12 + members).ok_or(Malformed::Truncated)?;
    let parsed = Type { kind, count, bit_fields: info >> 31 == 1, target, members: members_of };
    Ok((name, parsed, &bytes[12 + members..]))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn text(strings: &[u8], at: u32) -> &[u8] {
    let rest = strings.get(at as usize..).unwrap_or_default();
    rest.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct outer { int a; struct { int b; union { int c; }; }; int d: 3; }`, with typedefs left out.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0d\0ONE\0TWO\0";
        let mut types: Vec<u32> = Vec::new();
        let structure = |name, count: u32, flag: u32, members: &[[u32; 3]]| {
            let mut words = vec![name, flag << 31 | KIND_STRUCT << 24 | count, 0];
            words.extend(members.iter().flatten());
            words
        };
        types.extend([1, KIND_INT << 24, 4, 0x20]); // 1: int
        types.extend(structure(0, 1, 0, &[[15, 1, 0]])); // 2: anonymous { c }
        types.extend(structure(0, 2, 0, &[[13, 1, 0], [0, 2, 32]])); // 3: anonymous { b, 2 }
        types.extend(structure(5, 3, 1, &[[11, 1, 0], [0, 3, 32], [17, 1, 3 << 24 | 96]])); // 4: outer
        types.extend([0, KIND_ENUM << 24 | 2, 4, 19, 1, 23, 2]); // 5: enum { ONE = 1, TWO = 2 }
        let body: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        for value in [24, 0, body.len() as u32, body.len() as u32, strings.len() as u32] {
            bytes.extend(value.to_ne_bytes());
        }
        bytes.extend(body);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_through_anonymous_structures() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).expect("sample");
        assert_eq!(btf.offset("outer", "a"), Some(0));
        assert_eq!(btf.offset("outer", "b"), Some(4));
        assert_eq!(btf.offset("outer", "c"), Some(8));
        assert_eq!(btf.offset("outer", "d"), None, "a bit field has no byte offset");
        assert_eq!(btf.offset("outer", "e"), None);
        assert_eq!(btf.offset("inner", "a"), None);
    }

    #[test]
    fn constants_are_found_by_their_name() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).expect("sample");
        assert_eq!(btf.enumerator("ONE"), Some(1));
        assert_eq!(btf.enumerator("TWO"), Some(2));
        assert_eq!(btf.enumerator("outer"), None, "not a constant");
    }

    #[test]
    fn every_truncation_is_refused_or_harmless() {
        let bytes = sample();
        for length in 0..bytes.len() {
            if let Ok(btf) = Btf::parse(&bytes[..length]) {
                assert_eq!(btf.offset("outer", "e"), None);
            }
        }
    }

    proptest! {
        #[test]
        fn any_change_of_a_byte_is_survived(at in 0usize..300, value in any::<u8>()) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(btf) = Btf::parse(&bytes) {
                let _ = btf.offset("outer", "c");
            }
        }
    }
}
