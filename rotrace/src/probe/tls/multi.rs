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

/// A program, where in a function it is attached, and in which functions.
type Place = (&'static str, Moment, fn(Function) -> bool);

/// In the order in which they are attached: an entry whose return is missed would leave its thread inside of the function for
/// the probes. What records bytes has the stack that it takes to itself, so such entries are apart from the others.
const PLACES: [Place; 10] = [
    // It says why nothing was moved.
    ("ssl_get_error", Moment::Return, |function| function == Function::GetError),
    // It says which descriptors are TLS.
    ("ssl_import_fd", Moment::Return, |function| function == Function::NssImport),
    // What moves plaintext.
    ("ssl_return", Moment::Return, Function::returns),
    // `RET` instructions, which are instructions like any other to the kernel.
    ("go_read_return", Moment::Entry, |function| function == Function::GoReadReturn),
    ("go_write_return", Moment::Entry, |function| function == Function::GoWriteReturn),
    ("rustls_left", Moment::Entry, |function| function == Function::RustlsLeft),
    // It may have bytes to record before the connection ends.
    ("go_close", Moment::Entry, |function| function == Function::GoClose),
    ("rustls_encrypt", Moment::Entry, |function| function == Function::RustlsEncrypt),
    ("rustls_take", Moment::Entry, |function| function == Function::RustlsTake),
    // Of all others; the cookie says which.
    ("ssl_enter", Moment::Entry, Function::enters),
];

/// The programs, loaded, each with its place.
#[derive(Debug)]
pub(in crate::probe) struct Programs(Vec<(Place, OwnedFd)>);

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
        PLACES
            .into_iter()
            .map(|place| Ok((place, load(place.0)?)))
            .collect::<anyhow::Result<_>>()
            .map(Programs)
    }

    /// Each by its name.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.0.iter().map(|((name, ..), program)| (*name, program.as_fd()))
    }

    /// Attaches them to one process: `points` are function and file offset.
    pub(super) fn attach(
        &self,
        pid: u32,
        file: &Path,
        points: &[(Function, u64)],
    ) -> anyhow::Result<Vec<OwnedFd>> {
        let path = CString::new(file.as_os_str().as_bytes())?;
        let mut links = Vec::new();
        for ((_, moment, is_there), program) in &self.0 {
            let points = points.iter().filter(|(function, _)| is_there(*function));
            let points: Vec<_> = points.map(|&(function, offset)| (offset, function as u64)).collect();
            if points.is_empty() {
                continue;
            }
            let link = bpf::link_uprobes(program.as_fd(), *moment, &path, &points, pid);
            links.push(link.with_context(|| format!("probe {} in process {pid}", file.display()))?);
        }
        Ok(links)
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
