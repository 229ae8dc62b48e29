//! Given: the object, and the maps that aya made of it. Gives: the TLS programs that uprobe_multi links need, and those
//! links. Refuses to know: whether the kernel has such links.
//!
//! aya 0.14 loads a uprobe program for perf events alone: a link of many asks for the `expected_attach_type`
//! `BPF_TRACE_UPROBE_MULTI` when the program is loaded, and aya offers neither that nor the instructions that it has made
//! ready. So the object is read once more by aya's own reader, and tied to the maps that are there.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, anyhow};
use aya::Ebpf;
use aya::maps::Map;
use aya_obj::Object;

use super::Function;
use crate::probe::bpf::{self, Moment, Program, Types};
use crate::probe::verifier_tail;

/// Entries of all functions; the cookie says which.
const ENTER: &str = "ssl_enter";
/// Returns of those that move plaintext.
const RETURN: &str = "ssl_return";
/// Return of the function that says why nothing was moved.
const WHY: &str = "ssl_get_error";
/// Return of the function that says which descriptors are TLS.
const IMPORT: &str = "ssl_import_fd";
/// `RET` instructions of Go's functions, which are instructions like any other to the kernel.
const GO_READ_RETURN: &str = "go_read_return";
const GO_WRITE_RETURN: &str = "go_write_return";
/// Entry of Go's function that ends a connection: it may have bytes to record first, as the entries of others never have.
const GO_CLOSE: &str = "go_close";
/// Entries of rustls's functions that have bytes to record.
const RUSTLS_ENCRYPT: &str = "rustls_encrypt";
const RUSTLS_TAKE: &str = "rustls_take";

/// The programs, loaded.
#[derive(Debug)]
pub(in crate::probe) struct Programs {
    enter: OwnedFd,
    leave: OwnedFd,
    why: OwnedFd,
    import: OwnedFd,
    go_read: OwnedFd,
    go_write: OwnedFd,
    go_close: OwnedFd,
    rustls_encrypt: OwnedFd,
    rustls_take: OwnedFd,
}

impl Programs {
    /// Loads the programs of `object`, which use the maps of `ebpf`: it must still have all of them.
    pub(super) fn load(ebpf: &Ebpf, object: &[u8]) -> anyhow::Result<Programs> {
        let mut object = Object::parse(object)?;
        let features = aya::features();
        let types = features.btf().context("the kernel takes no types of programs")?;
        let types = object.fixup_and_sanitize_btf(types)?.context("the object has no types")?.to_bytes();
        let types = bpf::load_types(&types).context("load the types of the programs")?;
        let maps = std::mem::take(&mut object.maps);
        let maps = maps.iter().filter_map(|(name, map)| Some((&**name, descriptor(ebpf.map(name)?)?, map)));
        let sections = object.functions.keys().map(|(section, _)| *section).collect();
        object.relocate_maps(maps, &sections)?;
        object.relocate_calls(&sections)?;
        object.sanitize_functions(features);
        let load = |name| {
            let found = object
                .programs
                .get(name)
                .and_then(|program| Some((program, object.functions.get(&program.function_key())?)));
            let (program, function) = found.with_context(|| format!("the object has no program {name}"))?;
            let program = Program {
                name,
                license: &program.license,
                instructions: &function.instructions,
                types: Some(Types {
                    all: types.as_fd(),
                    functions: &function.func_info.func_info_bytes(),
                    function_bytes: function.func_info_rec_size,
                }),
            };
            bpf::load_uprobe(&program).map_err(|why| anyhow!("load {name}: {}", verifier_tail(&why)))
        };
        Ok(Programs {
            enter: load(ENTER)?,
            leave: load(RETURN)?,
            why: load(WHY)?,
            import: load(IMPORT)?,
            go_read: load(GO_READ_RETURN)?,
            go_write: load(GO_WRITE_RETURN)?,
            go_close: load(GO_CLOSE)?,
            rustls_encrypt: load(RUSTLS_ENCRYPT)?,
            rustls_take: load(RUSTLS_TAKE)?,
        })
    }

    /// Each by its name.
    pub(super) fn descriptors(&self) -> [(&'static str, BorrowedFd<'_>); 9] {
        [
            (ENTER, self.enter.as_fd()),
            (RETURN, self.leave.as_fd()),
            (WHY, self.why.as_fd()),
            (IMPORT, self.import.as_fd()),
            (GO_READ_RETURN, self.go_read.as_fd()),
            (GO_WRITE_RETURN, self.go_write.as_fd()),
            (GO_CLOSE, self.go_close.as_fd()),
            (RUSTLS_ENCRYPT, self.rustls_encrypt.as_fd()),
            (RUSTLS_TAKE, self.rustls_take.as_fd()),
        ]
    }

    /// Attaches them to one process: `points` are function and file offset.
    pub(super) fn attach(
        &self,
        pid: u32,
        file: &Path,
        points: &[(Function, u64)],
    ) -> anyhow::Result<Vec<OwnedFd>> {
        let path = CString::new(file.as_os_str().as_bytes())?;
        let link = |program: &OwnedFd, moment, points: &[_]| {
            bpf::link_uprobes(program.as_fd(), moment, &path, points, pid)
                .with_context(|| format!("probe {} in process {pid}", file.display()))
        };
        let of = |wanted: fn(Function) -> bool| {
            let points = points.iter().filter(move |(function, _)| wanted(*function));
            points.map(|&(function, offset)| (offset, function as u64)).collect::<Vec<_>>()
        };
        // An entry whose return is missed would leave its thread inside of the function for the probes.
        let in_order = [
            (&self.why, Moment::Return, of(|function| function == Function::GetError)),
            (&self.import, Moment::Return, of(|function| function == Function::NssImport)),
            (&self.leave, Moment::Return, of(Function::returns)),
            (&self.go_read, Moment::Entry, of(|function| function == Function::GoReadReturn)),
            (&self.go_write, Moment::Entry, of(|function| function == Function::GoWriteReturn)),
            (&self.go_close, Moment::Entry, of(|function| function == Function::GoClose)),
            (&self.rustls_encrypt, Moment::Entry, of(|function| function == Function::RustlsEncrypt)),
            (&self.rustls_take, Moment::Entry, of(|function| function == Function::RustlsTake)),
            (&self.enter, Moment::Entry, of(Function::enters)),
        ];
        let there = in_order.into_iter().filter(|(.., points)| !points.is_empty());
        there.map(|(program, moment, points)| link(program, moment, &points)).collect()
    }
}

/// The descriptor of a map of one of the types that the object has.
fn descriptor(map: &Map) -> Option<RawFd> {
    let (Map::Array(map)
    | Map::HashMap(map)
    | Map::LruHashMap(map)
    | Map::PerCpuArray(map)
    | Map::RingBuf(map)) = map
    else {
        return None;
    };
    Some(map.fd().as_fd().as_raw_fd())
}
