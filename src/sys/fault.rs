//! What became of datagrams that were sent: the error queue of a socket.
//!
//! A socket that asks for it keeps what the network said about its datagrams: which one, why, and
//! who said so. Anybody may ask, without any privilege.
//!
//! Source: Linux `ip(7)` (`IP_RECVERR`), `include/uapi/linux/errqueue.h`.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Room for one `sock_extended_err` and the address of who said so, with their header.
const CONTROL: usize = 256;

/// What the network said about a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The error as programs know it.
    pub errno: i32,
    /// The type and code of the ICMP message; none when the host itself refused.
    pub icmp: Option<(u8, u8)>,
    /// The MTU, where the datagram was too long.
    pub info: u32,
    /// Who said so.
    pub offender: Option<IpAddr>,
    /// Where the datagram was for.
    pub destination: Option<SocketAddr>,
    /// How many octets of it were copied.
    pub len: usize,
}

/// What a socket does with datagrams that are longer than the path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// They are cut into fragments on the way.
    Cut,
    /// They are refused.
    Refuse,
}

/// Has a socket keep what the network says about its datagrams.
///
/// # Errors
/// As `setsockopt`.
pub fn keep_faults(socket: BorrowedFd<'_>, is_ipv4: bool) -> io::Result<()> {
    let (level, name) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    set_int(socket, level, name, 1)
}

/// Says what becomes of datagrams that are too long.
///
/// # Errors
/// As `setsockopt`.
pub fn set_oversize(socket: BorrowedFd<'_>, is_ipv4: bool, oversize: Oversize) -> io::Result<()> {
    // The numbers are the same for both families.
    let value = match oversize {
        Oversize::Cut => libc::IP_PMTUDISC_DONT,
        Oversize::Refuse => libc::IP_PMTUDISC_DO,
    };
    let (level, name) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    };
    set_int(socket, level, name, value)
}

/// Takes the next fault from a socket, and into `octets` what it has of the datagram; `None` when
/// there is none.
///
/// # Errors
/// As `recvmsg`.
pub fn next_fault(socket: BorrowedFd<'_>, octets: &mut [u8]) -> io::Result<Option<Fault>> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = [0_u64; CONTROL / 8];
    let mut slice = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
    // SAFETY: `msghdr` is plain integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `message` points at `name`, `octets` and `control`, all of which outlive the call and
    // are as long as it says.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    if len < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    // SAFETY: all octets of `name` were initialised, by us or the kernel, and any are a value.
    let name = unsafe { name.assume_init() };
    let mut fault = Fault {
        errno: 0,
        icmp: None,
        info: 0,
        offender: None,
        destination: address(octets_of(&name), message.msg_namelen as usize),
        len: len.unsigned_abs().min(octets.len()),
    };
    let filled = (message.msg_controllen as usize).min(CONTROL);
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    read_control(&control[..filled], &mut fault);
    Ok(Some(fault))
}

/// Finds the `sock_extended_err` among what came along.
fn read_control(mut control: &[u8], fault: &mut Fault) {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    const ERROR: usize = size_of::<libc::sock_extended_err>();
    while let Some(header) = control.get(..HEADER) {
        let word = |at: usize| {
            let octets = header.get(at..at + 4).and_then(|octets| octets.first_chunk::<4>());
            octets.map_or(0, |octets| i32::from_ne_bytes(*octets))
        };
        // The length is a machine word; its low half suffices on both byte orders of 64 bits.
        let length = header
            .first_chunk::<{ size_of::<usize>() }>()
            .map_or(0, |octets| usize::from_ne_bytes(*octets));
        let (level, kind) = (word(size_of::<usize>()), word(size_of::<usize>() + 4));
        let Some(data) = control.get(HEADER..length) else { return };
        let is_error = matches!(
            (level, kind),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        if is_error && let Some(error) = data.get(..ERROR) {
            let number = |at: usize| {
                error.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or([0; 4])
            };
            let (origin, icmp_type, code) = (error[4], error[5], error[6]);
            fault.errno = i32::from_ne_bytes(number(0));
            fault.info = u32::from_ne_bytes(number(8));
            let is_icmp = matches!(origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
            fault.icmp = is_icmp.then_some((icmp_type, code));
            let offender = data.get(ERROR..).unwrap_or_default();
            fault.offender = address(offender, offender.len()).map(|address| address.ip());
        }
        let next = length.next_multiple_of(size_of::<usize>());
        control = control.get(next..).unwrap_or_default();
    }
}

/// An address as the kernel writes it.
fn address(octets: &[u8], len: usize) -> Option<SocketAddr> {
    let octets = octets.get(..len.min(octets.len()))?;
    let family = u16::from_ne_bytes(*octets.first_chunk::<2>()?);
    let port = u16::from_be_bytes(*octets.get(2..)?.first_chunk::<2>()?);
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*octets.get(4..)?.first_chunk::<4>()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*octets.get(8..)?.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn octets_of(name: &libc::sockaddr_storage) -> &[u8] {
    let len = size_of::<libc::sockaddr_storage>();
    // SAFETY: the structure is plain integers, all of them initialised, and `len` octets long.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(name).cast(), len) }
}

fn set_int(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: reads one `int`, which outlives the call.
    let answer = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_datagram_that_nobody_wants_comes_back_with_who_said_so() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let nobody = UdpSocket::bind(address).unwrap().local_addr().unwrap();
            keep_faults(socket.as_fd(), nobody.is_ipv4()).unwrap();
            assert_eq!(next_fault(socket.as_fd(), &mut []).unwrap(), None);
            socket.send_to(b"hello", nobody).unwrap();
            let mut octets = [0; 64];
            let fault = next_fault(socket.as_fd(), &mut octets).unwrap().unwrap();
            assert_eq!(fault.errno, libc::ECONNREFUSED);
            assert_eq!(fault.icmp, Some(if nobody.is_ipv4() { (3, 3) } else { (1, 4) }));
            assert_eq!(fault.offender, Some(nobody.ip()));
            assert_eq!(fault.destination, Some(nobody));
            assert_eq!(&octets[..fault.len], b"hello");
        }
    }

    #[test]
    fn a_datagram_that_is_too_long_is_cut_or_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        keep_faults(socket.as_fd(), true).unwrap();
        let mtu: usize =
            std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse().unwrap();
        if mtu > 65_000 {
            // Nothing is too long for this host's loopback but what no datagram can be.
            set_oversize(socket.as_fd(), true, Oversize::Refuse).unwrap();
            assert!(socket.send_to(&[0; 60_000], to).is_ok());
        }
        set_oversize(socket.as_fd(), true, Oversize::Cut).unwrap();
        assert!(socket.send_to(&[0; 60_000], to).is_ok());
    }
}
