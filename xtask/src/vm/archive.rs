//! Given: directories, links and files. Gives: an archive that a kernel unpacks into its first file system. Refuses to know:
//! what they are for.
//!
//! Format: "newc", Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.

/// An archive in the making.
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

impl Archive {
    pub(super) fn new() -> Archive {
        Archive { bytes: Vec::new(), entries: 0 }
    }

    /// A directory, whose parent is there.
    pub(super) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, b"");
    }

    /// A file that can be executed.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, content);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, name: &str, to: &str) {
        self.entry(name, LINK, to.as_bytes());
    }

    /// The whole.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (size, name_size) = (content.len() as u32, name.len() as u32 + 1);
        // Inode, mode, user, group, links, time, size, the device of the file, the device that it is, name, no checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Headers and contents begin at multiples of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::new();
        archive.program("init", b"#!/bin/sh\n");
        let bytes = archive.finish();
        // 110 bytes of header and 5 of name, padded; 10 of content, padded; then the trailer.
        assert_eq!(bytes[..14], *b"07070100000001");
        assert_eq!(bytes[14..22], *b"000081ed");
        assert_eq!(bytes[54..62], *b"0000000a");
        assert_eq!(bytes[110..116], *b"init\0\0");
        assert_eq!(bytes[116..128], *b"#!/bin/sh\n\0\0");
        assert_eq!(bytes[128..134], *b"070701");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    }
}
