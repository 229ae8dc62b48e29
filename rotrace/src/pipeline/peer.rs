//! Given: an open record. Gives: the address of the peer. Refuses to know: who that is.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rotrace_ebpf::record::Open;

/// The remote address, IPv4 where it is mapped; `None` when the kernel did not know one.
pub(super) fn address(open: &Open) -> Option<SocketAddr> {
    let address = Ipv6Addr::from(open.remote);
    if address.is_unspecified() && open.remote_port == 0 {
        return None;
    }
    let address = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
    Some(SocketAddr::new(address, open.remote_port))
}
