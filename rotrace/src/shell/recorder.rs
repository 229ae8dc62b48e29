//! Given: records in their order. Gives: a capture file of mode 0600, redacted unless it was asked for without. Refuses to
//! know: what the records mean.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::capture::{Description, Writer};
use crate::redact::{Redactor, unredacted};

/// A capture file that is being written.
#[derive(Debug)]
pub(super) struct Recorder {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
    /// `None` writes secrets and bodies as they are.
    redactor: Option<Redactor>,
}

impl Recorder {
    /// Makes the file, which must not be readable by others: it tells who called whom.
    pub(super) fn create(
        path: &Path,
        description: &Description,
        redactor: Option<Redactor>,
    ) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("create the capture file {}", path.display()))?;
        let writer = Writer::new(BufWriter::new(file), description)
            .with_context(|| format!("write the capture file {}", path.display()))?;
        Ok(Recorder { path: path.to_owned(), writer, redactor })
    }

    /// Adds a record.
    pub(super) fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let Recorder { writer, redactor, .. } = self;
        let written = match redactor {
            Some(redactor) => write_all(writer, |out| redactor.feed(record, out)),
            None => writer.write(&unredacted(record)),
        };
        written.map_err(|why| self.explain(why))
    }

    /// Gives everything to the file.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Recorder { writer, redactor, .. } = self;
        let written = match redactor {
            Some(redactor) => write_all(writer, |out| redactor.finish(out)),
            None => Ok(()),
        };
        written.and_then(|()| self.writer.flush()).map_err(|why| self.explain(why))
    }

    fn explain(&self, why: io::Error) -> io::Error {
        let advice = match why.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room there or record elsewhere; "
            }
            _ => "",
        };
        io::Error::new(
            why.kind(),
            format!(
                "write the capture file {}: {why}; {advice}what stands in it so far can be read",
                self.path.display()
            ),
        )
    }
}

/// Writes what `give` gives, up to the first error.
fn write_all<W: io::Write>(
    writer: &mut Writer<W>,
    give: impl FnOnce(&mut dyn FnMut(&[u8])),
) -> io::Result<()> {
    let mut written = Ok(());
    give(&mut |record| {
        if written.is_ok() {
            written = writer.write(record);
        }
    });
    written
}
