//! Given: made-up mappings, files that this test maps itself, and a child that it starts. Gives: that the files of a
//! process are found, opened without trust, and read once. Refuses to know: processes that it did not start.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::elf::tests::{CODE_ADDRESS, Sample};
use super::*;
use crate::process::{Procfs, mappings};

fn this_process() -> Process {
    process(std::process::id())
}

fn process(pid: u32) -> Process {
    Procfs::new("/proc", Path::new("/dev/null")).process(pid).unwrap()
}

/// A file that is mapped into this process as code while this lives.
struct Mapped {
    path: PathBuf,
    address: *mut libc::c_void,
    length: usize,
}

impl Mapped {
    fn new(directory: &TempDir, name: &str, bytes: &[u8]) -> Mapped {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let file = File::open(&path).unwrap();
        // SAFETY: a new private mapping of an open file, at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes.len(),
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(address, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Mapped { path, address, length: bytes.len() }
    }

    fn mapping(&self) -> Mapping {
        let start = self.address as u64;
        this_process().maps().unwrap().into_iter().find(|mapping| mapping.start == start).unwrap()
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing points into it.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

fn openssl() -> Sample {
    Sample::new().function("SSL_read", 8).function("SSL_write", 16)
}

/// What is said of one file, when this process maps `bytes` under `name`.
fn scanned(name: &str, bytes: &[u8]) -> (Option<Library>, Vec<Why>) {
    let directory = tempfile::tempdir().unwrap();
    let mapped = Mapped::new(&directory, name, bytes);
    let mut covered = Vec::new();
    let scan = scan(&this_process(), &mut Cache::default(), &mut |library| covered.push(library)).unwrap();
    let covered = covered.into_iter().find(|library| library.name == mapped.name());
    let uncovered = scan.uncovered.into_iter().filter(|missed| missed.name == mapped.name());
    (covered, uncovered.map(|missed| missed.why).collect())
}

#[test]
fn the_files_with_code_are_candidates_once_and_in_order_of_expectation() {
    let maps = mappings(
        b"1000-2000 r--p 00000000 08:01 10 /game/server\n\
          2000-3000 r-xp 00001000 08:01 10 /game/server\n\
          3000-4000 r-xp 00000000 08:01 11 /game/plugin.so\n\
          4000-5000 r-xp 00000000 08:01 12 /lib/libssl.so.3 (deleted)\n\
          5000-6000 r-xp 00003000 08:01 12 /lib/libssl.so.3 (deleted)\n\
          6000-7000 r-xp 00000000 08:02 12 /wheel/libssl-5e2c8f.so.1.1\n\
          7000-8000 r-xp 00000000 08:01 13 /lib/libgnutls.so.30.34.3\n\
          8000-9000 r-xp 00000000 08:01 14 /lib/libjvm.so\n\
          9000-a000 rw-p 00000000 08:01 15 /lib/libssl.so.1.0.0\n\
          a000-b000 r-xp 00000000 00:00 0 [vdso]\n\
          b000-c000 rwxp 00000000 00:00 0 \n",
    );
    let found: Vec<_> = candidates(&maps, Some("/game/server"))
        .iter()
        .map(|candidate| (candidate.expectation, candidate.mapping.start))
        .collect();
    assert_eq!(
        found,
        [
            (Expectation::Followed, 0x4000),
            (Expectation::Followed, 0x6000),
            (Expectation::Followed, 0x7000),
            (Expectation::Executable, 0x2000),
            (Expectation::Carries(Stack::Java), 0x8000),
            (Expectation::Nothing, 0x3000),
        ],
    );
}

#[test]
fn a_file_of_any_name_is_covered_when_it_has_the_functions() {
    for name in ["libssl.so.3", "engine plugin.so"] {
        let (covered, uncovered) = scanned(name, &openssl().bytes());
        let library = covered.unwrap();
        assert_eq!(uncovered, []);
        let functions: Vec<_> = library.points.iter().map(|(function, _)| *function).collect();
        assert_eq!(functions, [Function::Read, Function::Write]);
        // The file is gone by now, and the path still leads to it.
        let bytes = fs::read(library.path()).unwrap();
        assert_eq!(bytes, openssl().bytes());
        assert_eq!(library.identity.1, fs::metadata(library.path()).unwrap().ino());
    }
}

#[test]
fn what_is_not_covered_is_said_with_its_reason() {
    let missed = |name: &str, bytes: &[u8]| {
        let (covered, uncovered) = scanned(name, bytes);
        assert!(covered.is_none());
        uncovered
    };
    assert_eq!(missed("libssl.so.3", &Sample::new().bytes()), [Why::NoFunctions]);
    let handshake = Sample::new().function("SSL_connect", 0).bytes();
    assert_eq!(missed("libssl.so.3", &handshake), [Why::NoFunctions]);
    assert_eq!(missed("libssl.so.3", b"no ELF"), [Why::NotElf(NotElf::Magic)]);
    assert_eq!(missed("libjvm.so", b"no ELF"), [Why::Stack(Stack::Java)]);
    assert_eq!(missed("plugin.so", &Sample::new().bytes()), []);
    let mut foreign = openssl().bytes();
    foreign[18] = if Machine::HOST == Some(Machine::X86_64) { 183 } else { 62 };
    assert_eq!(missed("libssl.so.3", &foreign), [Why::Machine]);
}

/// A file of a stack without symbols is looked at for what is told of it, and named by its build id else.
#[test]
fn what_is_told_of_a_library_has_it_covered() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = Sample::new().build_id(b"12345678").bytes();
    let mapped = Mapped::new(&directory, "UnityPlayer.so", &bytes);
    let id = BuildId::parse("3132333435363738").unwrap();
    let mut told = Addresses::default();
    let functions = [(CODE_ADDRESS, Function::Receive), (CODE_ADDRESS + 16, Function::Write)];
    let functions = functions.into_iter().chain([(CODE_ADDRESS + 32, Function::Free)]).collect();
    told.insert(id.clone(), functions).unwrap();
    let look = |cache: &mut Cache| {
        let mut covered = Vec::new();
        let scan = scan(&this_process(), cache, &mut |library| covered.push(library.name)).unwrap();
        (covered.contains(&mapped.name()), scan.uncovered)
    };
    let is_missed = |missed: &Uncovered| missed.name == mapped.name();
    let (is_covered, uncovered) = look(&mut Cache::new(told));
    assert!(is_covered && !uncovered.iter().any(is_missed), "{uncovered:?}");
    let (is_covered, uncovered) = look(&mut Cache::default());
    let missed = uncovered.into_iter().find(is_missed).unwrap();
    assert!(!is_covered);
    assert_eq!((missed.why, missed.build_id.as_ref()), (Why::Stack(Stack::Unity), Some(&id)));
    let text = format!("{} has UnityTLS, which is not followed (build id 3132333435363738)", mapped.name());
    assert_eq!(missed.to_string(), text);
}

#[test]
fn a_stack_is_named_once() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Mapped::new(&directory, "librustls.so.1", b"first");
    let _second = Mapped::new(&directory, "librustls.so.2", b"second");
    let scan = scan(&this_process(), &mut Cache::default(), &mut |_| {}).unwrap();
    let named = scan.uncovered.iter().filter(|missed| missed.why == Why::Stack(Stack::Rustls(Lack::Symbols)));
    assert_eq!(named.count(), 1);
}

#[test]
fn a_stack_is_named_for_each_file_that_can_be_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = |id| Sample::new().build_id(id).bytes();
    let files =
        [("UnityPlayer.1", b"abcdefgh"), ("UnityPlayer.2", b"bcdefghi"), ("UnityPlayer.3", b"abcdefgh")];
    let _mapped = files.map(|(name, id)| Mapped::new(&directory, name, &bytes(id)));
    let scan = scan(&this_process(), &mut Cache::default(), &mut |_| {}).unwrap();
    let directory = directory.path().to_str().unwrap();
    let named = scan.uncovered.iter().filter(|missed| missed.name.starts_with(directory));
    assert_eq!(named.count(), 2);
}

#[test]
fn below_the_root_only_the_mapped_file_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let mapped = Mapped::new(&directory, "libssl.so.3", &openssl().bytes());
    let mapping = mapped.mapping();
    let inode = fs::metadata(&mapped.path).unwrap().ino();
    let opened = open_in_root(&this_process(), &mapping).unwrap();
    assert_eq!(opened.metadata().unwrap().ino(), inode);

    let kept = directory.path().join("kept");
    fs::rename(&mapped.path, &kept).unwrap();
    let gone = open_in_root(&this_process(), &mapping).unwrap_err();
    assert_eq!(gone, Why::Unopened(io::ErrorKind::NotFound));
    fs::write(&mapped.path, openssl().bytes()).unwrap();
    assert_eq!(open_in_root(&this_process(), &mapping).unwrap_err(), Why::Replaced);
    let removed = Mapping { deleted: true, ..mapping.clone() };
    assert_eq!(open_in_root(&this_process(), &removed).unwrap_err(), Why::Replaced);

    // A link of the kernel's own would leave the root, so it is not followed even to the right file.
    fs::remove_file(&mapped.path).unwrap();
    symlink(descriptor(&File::open(&kept).unwrap()), &mapped.path).unwrap();
    assert!(matches!(open_in_root(&this_process(), &mapping), Err(Why::Unopened(_))));
    fs::remove_file(&mapped.path).unwrap();
    symlink("kept", &mapped.path).unwrap();
    assert!(open_in_root(&this_process(), &mapping).is_ok());
    fs::remove_file(&mapped.path).unwrap();
    fs::create_dir(&mapped.path).unwrap();
    assert_eq!(open_in_root(&this_process(), &mapping).unwrap_err(), Why::NotElf(NotElf::Magic));
}

#[test]
fn a_file_is_read_once_until_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, openssl().bytes()).unwrap();
    let mut cache = Cache::default();
    let first = cache.points(&File::open(&path).unwrap(), UNEXPECTED_BYTES).unwrap();
    assert_eq!(cache.points(&File::open(&path).unwrap(), UNEXPECTED_BYTES).unwrap(), first);
    assert_eq!(cache.entries.len(), 1);
    assert!(cache.points(&File::open(&path).unwrap(), 1).is_err());
    assert_eq!(cache.entries.len(), 2, "another bound is another question");
    fs::write(&path, openssl().function("SSL_free", 24).bytes()).unwrap();
    let second = cache.points(&File::open(&path).unwrap(), UNEXPECTED_BYTES).unwrap();
    assert_eq!(second.1.functions.len(), 3);
}

#[test]
fn the_cache_forgets_what_was_used_longest_ago() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, openssl().bytes()).unwrap();
    let file = File::open(&path).unwrap();
    let mut cache = Cache::default();
    for bytes_max in 0..CACHE_FILES as u64 {
        let _ = cache.points(&file, bytes_max);
    }
    let _ = cache.points(&file, 0);
    let _ = cache.points(&file, UNEXPECTED_BYTES);
    assert_eq!(cache.entries.len(), CACHE_FILES);
    let known = |bytes_max| cache.entries.iter().any(|(key, _)| key.bytes_max == bytes_max);
    assert!(known(0) && known(UNEXPECTED_BYTES) && !known(1) && known(2));
}

#[test]
fn names_cannot_speak_to_a_terminal() {
    let maps = mappings(b"1000-2000 r-xp 00000000 08:01 10 /a\x1b[2Jb \xff\n");
    assert_eq!(name(&maps[0]), "/a\u{fffd}[2Jb \u{fffd}");
}

/// A Python that has loaded its TLS module and waits until its input ends.
struct Python(Child);

impl Python {
    fn start() -> Python {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", "import ssl; print('ready', flush=True); input()"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs /usr/bin/python3");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "this test needs a Python with TLS");
        Python(child)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// `nm` and `readelf` are another reading of the same file.
#[test]
fn this_hosts_openssl_is_found_in_a_process_that_uses_it() {
    let python = Python::start();
    let mut cache = Cache::default();
    let mut covered = Vec::new();
    let found = scan(&process(python.0.id()), &mut cache, &mut |library| covered.push(library)).unwrap();
    let library = covered.iter().find(|library| library.name.contains("/libssl")).expect("libssl is mapped");
    assert_eq!(found.unread, 0);

    let text = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&library.name).output().expect("binutils");
        String::from_utf8(output.stdout).unwrap()
    };
    let hexadecimal = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let segments: Vec<[u64; 3]> = text("readelf", &["-lW"])
        .lines()
        .filter(|line| line.trim_start().starts_with("LOAD") && line.contains(" R E "))
        .map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            [1, 2, 4].map(|field| hexadecimal(fields[field]))
        })
        .collect();
    let mut expected: Vec<_> = text("nm", &["-D", "--defined-only"])
        .lines()
        .filter_map(|line| {
            let [address, "T", symbol] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
            let function = match symbol.split('@').next()? {
                "SSL_read" => Function::Read,
                "SSL_write" => Function::Write,
                "SSL_read_ex" => Function::ReadEx,
                "SSL_write_ex" => Function::WriteEx,
                "SSL_free" => Function::Free,
                "SSL_get_error" => Function::GetError,
                _ => return None,
            };
            let address = hexadecimal(address);
            let [offset, start, _] =
                segments.iter().find(|[_, start, size]| (*start..start + size).contains(&address))?;
            Some((function, address - start + offset))
        })
        .collect();
    expected.sort_by_key(|(_, offset)| *offset);
    assert!(expected.len() >= 6);
    let bytes = fs::read(library.path()).unwrap();
    for (_, offset) in &mut expected {
        // As a distribution may build it for x86-64, with `-fcf-protection`.
        if let [0xf3, 0x0f, 0x1e, 0xfa, 0x50..=0x57, ..] | [0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x50..=0x57, ..] =
            bytes[*offset as usize..]
        {
            *offset += 4;
        }
    }
    assert_eq!(library.points, expected);

    let entries = cache.entries.len();
    let second = Python::start();
    let mut again = 0;
    scan(&process(second.0.id()), &mut cache, &mut |_| again += 1).unwrap();
    assert_eq!(again, covered.len());
    assert_eq!(cache.entries.len(), entries, "the second process with the same files reads none");
}
