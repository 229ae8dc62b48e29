//! Given: records, one after the other. Gives: a capture file, and from a capture file the same records again. Refuses to
//! know: what the records mean.
//!
//! ```text
//! 8 bytes   "ROTRACE\n"
//! u32       version of the record layout, native-endian
//! u32       length of the description
//! …         the description: JSON, [`Description`]
//! …         records as they came from the ring buffer, each as long as its header says
//! ```

use std::fmt;
use std::io::{self, Read, Write};

use rotrace_ebpf::limits::PAYLOAD_MAX;
use rotrace_ebpf::record::{HEADER_BYTES, Header, VERSION, kind};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"ROTRACE\n";
/// Longest description that is read.
const DESCRIPTION_BYTES_MAX: u32 = 64 * 1024;
/// Longest record that is read: those of user space may be as long as the largest of the kernel.
const RECORD_BYTES_MAX: u32 = (HEADER_BYTES + PAYLOAD_MAX) as u32;

/// What a capture says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Version of rotrace that wrote it.
    pub rotrace: String,
    /// Kernel release of the host.
    pub kernel: String,
    /// Wall clock minus CLOCK_MONOTONIC in nanoseconds, when the capture began.
    pub wall_clock_offset_ns: i64,
    /// Secrets and bodies were overwritten.
    pub redacted: bool,
}

/// Why bytes are not a capture, or not to their end.
#[derive(Debug)]
pub enum Error {
    /// The file does not begin like a capture.
    NotACapture,
    /// It was written by a version with another record layout.
    Version(u32),
    /// The description is damaged.
    Description,
    /// It ends within a record, so many bytes into the file; what stands before is good.
    Truncated(u64),
    /// The record that begins at this byte of the file says an impossible length.
    Damaged(u64),
    /// The file cannot be read.
    Io(io::Error),
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotACapture => out.write_str("not a capture: it does not begin with ROTRACE"),
            Error::Version(found) => {
                write!(out, "a capture of record layout {found}; this rotrace reads layout {VERSION}")
            }
            Error::Description => out.write_str("the description at its start is damaged"),
            Error::Truncated(at) => write!(out, "it ends in the middle of the record at byte {at}"),
            Error::Damaged(at) => {
                write!(out, "the record at byte {at} is damaged; nothing behind it can be read")
            }
            Error::Io(why) => write!(out, "{why}"),
        }
    }
}

/// Writes a capture.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins a capture.
    pub fn new(mut out: W, description: &Description) -> io::Result<Self> {
        let text = serde_json::to_vec(description)?;
        out.write_all(MAGIC)?;
        out.write_all(&u32::from(VERSION).to_ne_bytes())?;
        out.write_all(&(text.len() as u32).to_ne_bytes())?;
        out.write_all(&text)?;
        Ok(Writer { out })
    }

    /// Adds a record: `bytes` without the padding that a ring buffer may have put behind it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Gives everything to the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads a capture, record by record.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    description: Description,
    record: Vec<u8>,
    at: u64,
}

impl<R: Read> Reader<R> {
    /// Reads what stands before the records.
    pub fn new(mut input: R) -> Result<Self, Error> {
        let mut start = [0; 16];
        match fill(&mut input, &mut start).map_err(Error::Io)? {
            16 => {}
            _ => return Err(Error::NotACapture),
        }
        let [magic @ .., v0, v1, v2, v3, l0, l1, l2, l3] = start;
        if magic != *MAGIC {
            return Err(Error::NotACapture);
        }
        let version = u32::from_ne_bytes([v0, v1, v2, v3]);
        if version != u32::from(VERSION) {
            return Err(Error::Version(version));
        }
        let length = u32::from_ne_bytes([l0, l1, l2, l3]);
        if length > DESCRIPTION_BYTES_MAX {
            return Err(Error::Description);
        }
        let mut text = vec![0; length as usize];
        if fill(&mut input, &mut text).map_err(Error::Io)? < text.len() {
            return Err(Error::Description);
        }
        let description = serde_json::from_slice(&text).map_err(|_| Error::Description)?;
        Ok(Reader { input, description, record: Vec::new(), at: 16 + u64::from(length) })
    }

    /// What the capture says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The next record; `None` behind the last. After an error there is nothing more.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        let mut header = [0; HEADER_BYTES];
        match fill(&mut self.input, &mut header).map_err(Error::Io)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            _ => return Err(Error::Truncated(self.at)),
        }
        let length = Header::from_bytes(&header).length;
        if length < HEADER_BYTES as u32 || length > RECORD_BYTES_MAX {
            return Err(Error::Damaged(self.at));
        }
        self.record.clear();
        self.record.extend_from_slice(&header);
        self.record.resize(length as usize, 0);
        let rest = self.record.get_mut(HEADER_BYTES..).unwrap_or_default();
        if fill(&mut self.input, rest).map_err(Error::Io)? < rest.len() {
            return Err(Error::Truncated(self.at));
        }
        self.at += u64::from(length);
        Ok(Some(&self.record))
    }
}

/// Reads until `into` is full or the input ends; returns how much.
fn fill(input: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(filled)
}

/// What user space knows of a process, for the records behind it. The game has been found by the rules already: a command
/// line or an environment never stands in a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// In the PID namespace of the user.
    pub pid: u32,
    /// Start time since boot in clock ticks.
    pub start_ticks: u64,
    /// Path of the executable.
    pub exe: String,
    /// What the rules over processes said.
    pub game: Option<String>,
    /// How many header rules come before that.
    pub headers_before: usize,
}

/// Losses so far, by stage and reason: events under [`KERNEL`], bytes under [`KERNEL_BYTES`].
pub type Losses = std::collections::BTreeMap<String, std::collections::BTreeMap<String, u64>>;

/// What the probes counted of [`rotrace_ebpf::stats::LOSSES`].
pub const KERNEL: &str = "kernel";
/// Among [`KERNEL`]: how often, at most, the kernel ran neither copy of one of the probes' programs, for whichever process,
/// because both had been interrupted on the same processor (`bpf_prog_inc_misses_counter`, kernel/bpf/syscall.c, 5.12 to 7.3).
pub const NOT_RUN: &str = "not_run";
/// What they counted of [`rotrace_ebpf::stats::LOST_BYTES`].
pub const KERNEL_BYTES: &str = "kernel_bytes";

/// A record made by user space. `pid` is of the initial PID namespace.
pub fn record(kind: u8, time_ns: u64, pid: u32, value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let payload = serde_json::to_vec(value)?;
    let length = (HEADER_BYTES + payload.len()) as u32;
    let header = Header { length, version: VERSION, kind, time_ns, pid, ..Header::default() };
    Ok([&header.to_bytes()[..], &payload].concat())
}

/// The record that says what is known of a process.
pub fn process_record(time_ns: u64, pid: u32, facts: &ProcessFacts) -> serde_json::Result<Vec<u8>> {
    record(kind::PROCESS, time_ns, pid, facts)
}

/// The record that says that a process is gone, in place of the kernel's where that was lost.
pub fn gone_record(time_ns: u64, pid: u32) -> [u8; HEADER_BYTES] {
    let length = HEADER_BYTES as u32;
    Header { length, version: VERSION, kind: kind::GONE, time_ns, pid, tid: pid, ..Header::default() }
        .to_bytes()
}

/// The record that says what was lost so far.
pub fn loss_record(time_ns: u64, losses: &Losses) -> serde_json::Result<Vec<u8>> {
    record(kind::LOSS, time_ns, 0, losses)
}

#[cfg(test)]
mod tests {
    use rotrace_ebpf::record::Record;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &Description::default()).expect("a vector takes everything");
        for pid in [1, 2] {
            let record = process_record(5, pid, &ProcessFacts::default()).expect("plain values");
            writer.write(&record).expect("a vector takes everything");
        }
        bytes
    }

    #[test]
    fn what_user_space_makes_is_read_and_not_of_the_probes() {
        let process = process_record(5, 1, &ProcessFacts::default()).expect("plain values");
        let loss = loss_record(5, &Losses::default()).expect("plain values");
        for bytes in [&process[..], &loss, &gone_record(5, 1)] {
            let record = Record::decode(bytes).expect("a record");
            assert!(kind::is_from_user_space(record.header.kind), "{record:?}");
        }
    }

    #[test]
    fn records_come_back() {
        let bytes = sample();
        let mut reader = Reader::new(&bytes[..]).expect("a capture");
        assert_eq!(*reader.description(), Description::default());
        for pid in [1, 2] {
            let record = reader.next().expect("good").expect("a record").to_vec();
            assert_eq!(record, process_record(5, pid, &ProcessFacts::default()).expect("plain values"));
        }
        assert!(reader.next().expect("the end").is_none());
    }

    #[test]
    fn a_cut_capture_says_where_it_ends_and_gives_what_is_good() {
        let bytes = sample();
        for length in 0..bytes.len() {
            let Ok(mut reader) = Reader::new(&bytes[..length]) else { continue };
            let mut good = 0;
            loop {
                match reader.next() {
                    Ok(Some(record)) => good += record.len(),
                    Ok(None) => break,
                    Err(Error::Truncated(at)) => {
                        assert!((at as usize) < length);
                        break;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(good <= length);
        }
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        assert!(matches!(Reader::new(&b"GET / HTTP/1.1\r\n"[..]), Err(Error::NotACapture)));
        let mut other = sample();
        other[8] = 9;
        assert!(matches!(Reader::new(&other[..]), Err(Error::Version(9))));
        let mut damaged = sample();
        let start = damaged.len() - 2 * process_record(5, 1, &ProcessFacts::default()).expect("plain").len();
        damaged[start] = 3;
        damaged[start + 1] = 0;
        let mut reader = Reader::new(&damaged[..]).expect("a capture");
        assert!(matches!(reader.next(), Err(Error::Damaged(_))));
    }
}
