//! Given: names and code as compilers write them. Gives: that functions and their ends are found where they are, and nothing is
//! probed where one is missing or there are two. Refuses to know: real programs; those are in the live tests.

use std::io::Cursor;

use object::elf;
use proptest::prelude::*;

use super::*;

const SEND: Part = NAMES[0].2;
const MESSAGE: Part = NAMES[1].2;
const TAKE: Part = NAMES[2].2;
const ENCRYPT: Part = NAMES[3].2;
const SCOPE: Part = NAMES[4].2;

/// `nm` of programs with rustls 0.23.46, ureq 3.5 and tokio-rustls 0.26.6, in the older mangling.
const LEGACY: [(&str, Option<Part>); 9] = [
    (
        "_ZN6rustls12common_state11CommonState20send_appdata_encrypt17hbeff53087ad83ab9E.llvm.3865288137060507005",
        Some(SEND),
    ),
    ("_ZN6rustls12common_state11CommonState16send_msg_encrypt17h2c5b2c6d9f1e0a77E", Some(MESSAGE)),
    ("_ZN6rustls12common_state11CommonState23take_received_plaintext17h76c98ba3c36b6ee1E", Some(TAKE)),
    (
        "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17h5d32031868071d85E",
        Some(ENCRYPT),
    ),
    ("_ZN6rustls4conn28ConnectionCommon$LT$Data$GT$11complete_io17h69b69c30390fa52bE", Some(SCOPE)),
    ("_ZN12tokio_rustls6common19Stream$LT$IO$C$C$GT$7read_io17h0123456789abcdefE", Some(SCOPE)),
    (
        "_ZN109_$LT$rustls..msgs..deframer..handshake..HandshakeIter$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
        Some(Part::Version),
    ),
    ("_ZN6rustls6server11server_conn14EarlyDataState23take_received_plaintext17h76c98ba3c36b6ee1E", None),
    (
        "_ZN6rustls4conn28ConnectionCommon$LT$Data$GT$11complete_io28_$u7b$$u7b$closure$u7d$$u7d$17h69b69c30390fa52bE",
        None,
    ),
];

/// The same in the newer one.
const V0: [(&str, Option<Part>); 8] = [
    (
        "_RNvMNtCsiWcKhtF0zut_6rustls12common_stateNtB2_11CommonState20send_appdata_encrypt.llvm.17702508309710340152",
        Some(SEND),
    ),
    ("_RNvMNtCsiWcKhtF0zut_6rustls12common_stateNtB2_11CommonState16send_msg_encrypt", Some(MESSAGE)),
    ("_RNvMNtCsiWcKhtF0zut_6rustls12common_stateNtB2_11CommonState23take_received_plaintext", Some(TAKE)),
    (
        "_RNvXs2_NtNtNtCsiWcKhtF0zut_6rustls6crypto4ring5tls13NtB5_21Tls13MessageEncrypterNtNtB9_6cipher16MessageEncrypter7encrypt",
        Some(ENCRYPT),
    ),
    (
        "_RINvMs0_NtCsiWcKhtF0zut_6rustls4connINtB6_16ConnectionCommonNtNtNtB8_6client11client_conn20ClientConnectionDataE11complete_ioINtNtNtNtCsglEKh72MgFg_4ureq11unversioned9transport2io16TransportAdapterEEB28_",
        Some(SCOPE),
    ),
    (
        "_RNvXs3_NtNtNtCsiWcKhtF0zut_6rustls4msgs8deframer9handshakeNtB5_13HandshakeIterNtNtNtCsgEmfK2I1SDS_4core3ops4drop4Drop4drop",
        Some(Part::Version),
    ),
    ("_RNCNvMNtCsiWcKhtF0zut_6rustls12common_stateNtB2_11CommonState20send_appdata_encrypt0B6_", None),
    (
        "_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeNCNvMNtCsiWcKhtF0zut_6rustls12common_stateNtB2_11CommonState20send_appdata_encrypt0EB6_",
        None,
    ),
];

fn found(piece: &str) -> Vec<(usize, Part)> {
    names(piece.as_bytes()).collect()
}

#[test]
fn names_are_known_and_others_are_not() {
    for (name, part) in LEGACY.iter().chain(&V0) {
        let expected: Vec<_> = part.iter().map(|part| (6, *part)).collect();
        assert_eq!(found(&format!("\0main\0{name}\0{name}")[..6 + name.len() + 1]), expected, "{name}");
    }
    let both = format!("{}\0{}\0", LEGACY[0].0, LEGACY[2].0);
    assert_eq!(found(&both), [(0, SEND), (LEGACY[0].0.len() + 1, TAKE)]);
}

/// `ret`, `jmp` to what is behind the function, `jmp` within it, `jmp *%rax`, `jmp *8(%rax)`, and a byte of 0xc3 that is none.
const CODE: [u8; 19] =
    [0xc3, 0xe9, 0x40, 0, 0, 0, 0xeb, 0xf8, 0xff, 0xe0, 0xff, 0x60, 0x08, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0x90];

#[test]
fn a_function_ends_where_it_is_left() {
    assert_eq!(ends_of(&CODE), Some(vec![0, 1, 10]));
    assert_eq!(ends_of(&CODE[13..]), None, "it never ends");
    assert_eq!(ends_of(&[0xc3, 0x06]), None, "0x06 is no instruction");
}

const ADDRESS: u64 = 0x1000;
const OFFSET: u64 = 64;

fn points_of(found: &[Found]) -> Result<Vec<(Function, u64)>, Lack> {
    let mut file = vec![0; OFFSET as usize];
    file.extend(CODE);
    let mut segment = ProgramHeader64::<Le> {
        p_type: object::U32::new(Le, elf::PT_LOAD),
        p_flags: object::U32::new(Le, elf::PF_X),
        p_offset: object::U64::new(Le, OFFSET),
        p_vaddr: object::U64::new(Le, ADDRESS),
        p_paddr: object::U64::new(Le, 0),
        p_filesz: object::U64::new(Le, CODE.len() as u64),
        p_memsz: object::U64::new(Le, CODE.len() as u64),
        p_align: object::U64::new(Le, 1),
    };
    segment.p_paddr = segment.p_vaddr;
    let mut file = Bounded::new(Cursor::new(file), 4096).unwrap();
    points(&mut file, &[segment], &found.iter().copied().collect()).unwrap()
}

const WHOLE: [Found; 6] = [
    (SEND, ADDRESS, 19),
    (MESSAGE, ADDRESS + 1, 18),
    (TAKE, ADDRESS + 2, 17),
    (ENCRYPT, ADDRESS + 3, 16),
    (SCOPE, ADDRESS, 8),
    (Part::Version, ADDRESS + 5, 14),
];

#[test]
fn all_of_it_is_probed_or_nothing() {
    let points = points_of(&WHOLE).unwrap();
    let at = |wanted: Function| {
        points
            .iter()
            .filter(|(function, _)| *function == wanted)
            .map(|(_, at)| at - OFFSET)
            .collect::<Vec<_>>()
    };
    assert_eq!(at(Function::RustlsSend), [0]);
    assert_eq!(at(Function::RustlsTake), [2]);
    assert_eq!(at(Function::RustlsEncrypt), [3]);
    assert_eq!(at(Function::RustlsScopeLeft), [0, 1]);
    let lacks = [
        Some(Lack::Function("send_appdata_encrypt")),
        None,
        Some(Lack::Function("take_received_plaintext")),
        Some(Lack::Function("MessageEncrypter::encrypt")),
        Some(Lack::Function("complete_io")),
        Some(Lack::Version),
    ];
    for (missing, lack) in lacks.into_iter().enumerate() {
        let mut some = WHOLE.to_vec();
        let (part, ..) = some.remove(missing);
        assert_eq!(points_of(&some).err(), lack, "without {part:?}");
    }
    assert_eq!(points_of(&[]), Err(Lack::Symbols));
    for twice in [SEND, MESSAGE, TAKE] {
        let both = [&WHOLE[..], &[(twice, ADDRESS + 9, 4)]].concat();
        assert_eq!(points_of(&both), Err(Lack::Versions), "{twice:?} twice");
    }
    for outside in [(ENCRYPT, ADDRESS + 19, 1), (SCOPE, ADDRESS + 9, CODE_BYTES)] {
        assert_eq!(points_of(&[&WHOLE[..], &[outside]].concat()), Err(Lack::Code), "{outside:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_taken(piece: Vec<u8>, code: Vec<u8>) {
        names(&piece).for_each(drop);
        let _ = ends_of(&code);
    }
}
