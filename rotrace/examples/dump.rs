#![allow(clippy::all)]
use rotrace::probe::{host::Host, *};
use rotrace_ebpf::record::*;
fn main() -> anyhow::Result<()> {
    let host = Host::read(std::path::Path::new("/"));
    println!("{host:?}");
    let mut p = Probes::load(&host, Settings::default())?;
    println!("{:?}", p.verified_instructions());
    let secs: u64 = std::env::args().nth(1).unwrap().parse()?;
    for a in std::env::args().skip(2) {
        let pid: u32 = a.parse()?;
        println!("resolve {pid} -> {:?}", p.resolve(pid));
        p.add_target(pid)?;
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(secs);
    while std::time::Instant::now() < end {
        p.wait(std::time::Duration::from_millis(10));
        p.drain(|b| match Record::decode(b) {
            Ok(r) => {
                let h = r.header;
                println!(
                    "{} kind={} dir={} fl={} conn={:x} pid={} pos={} size={} extra={:x} {:?}",
                    h.time_ns,
                    h.kind,
                    h.direction,
                    h.flags,
                    h.conn,
                    h.pid,
                    h.position,
                    h.size,
                    h.extra,
                    String::from_utf8_lossy(&r.payload[..r.payload.len().min(80)])
                )
            }
            Err(e) => println!("{e:?}"),
        });
    }
    println!("{:?}", p.counters());
    Ok(())
}
