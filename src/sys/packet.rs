//! Packet sockets: frames to and from an interface of the host's, below its network stack.
//!
//! The socket asks for a virtio-net header in front of each frame, so that superframes pass whole
//! as they do through a TAP. Here the header has 10 octets, in the machine's own byte order: the
//! two of the longer form would always be 0. A VLAN tag is taken off by the kernel before we see
//! the frame, and told of in a control message.
//!
//! Source: Linux `packet(7)`, `include/uapi/linux/if_packet.h`, `netdevice(7)`.

use std::ffi::c_int;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use weft_frame::MacAddr;

/// The octets of the header in front of each frame.
pub const HEADER: usize = 10;

/// Leaves out what the host itself sends (Linux 4.20); not in every `libc`.
const PACKET_IGNORE_OUTGOING: c_int = 23;
/// Octets of frames that may wait for us, and for the interface: some hundred superframes.
const QUEUE: c_int = 8 << 20;

/// What is known of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number.
    pub index: u32,
    /// Its own station address.
    pub mac: MacAddr,
    /// The largest IP packet it takes, in octets.
    pub mtu: u32,
    /// Whether its frames are Ethernet's, and others can hear them.
    pub is_ethernet: bool,
    /// Whether it is up and has a carrier.
    pub is_running: bool,
}

/// A frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its octets, of which the buffer holds as many as fit.
    pub len: usize,
    /// The tag that the kernel took off: its type and its control information.
    pub tag: Option<(u16, u16)>,
}

/// Opens a packet socket that is bound to nothing yet, so nothing reaches it.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW` in the user namespace that owns this network namespace.
pub fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA, PACKET_IGNORE_OUTGOING] {
        set_int(&fd, libc::SOL_PACKET, option, 1)?;
    }
    for (forced, asked) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        // Without `CAP_NET_ADMIN` there is as much as the system allows everybody.
        set_int(&fd, libc::SOL_SOCKET, forced, QUEUE)
            .or_else(|_| set_int(&fd, libc::SOL_SOCKET, asked, QUEUE))?;
    }
    Ok(fd)
}

/// Binds a packet socket to an interface, for frames of every kind and to every address.
///
/// # Errors
/// `ENODEV` when there is no such interface any more.
pub fn bind(fd: &OwnedFd, index: u32) -> io::Result<()> {
    let index = c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `packet_mreq` and `sockaddr_ll` are integers only, for which zero is a value.
    let (mut membership, mut address): (libc::packet_mreq, libc::sockaddr_ll) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    membership.mr_ifindex = index;
    membership.mr_type = libc::PACKET_MR_PROMISC as u16;
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index;
    // SAFETY: reads one `packet_mreq`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const membership).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    })?;
    // SAFETY: reads one `sockaddr_ll`, which outlives the call.
    check(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })
}

/// Takes one frame, its header into `header` and the frame into `frame`; never waits.
///
/// # Errors
/// `EAGAIN` when there is none, `ENETDOWN` once when the interface has gone down or away; `EINVAL`
/// for a frame that no header describes, which is lost.
pub fn receive(
    fd: BorrowedFd<'_>,
    header: &mut [u8; HEADER],
    frame: &mut [u8],
) -> io::Result<Received> {
    let mut slices = [
        libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER },
        libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() },
    ];
    // In `u64`s, because control messages have to be aligned.
    let mut control = [0_u64; 16];
    // SAFETY: `msghdr` is integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_mut_ptr();
    message.msg_iovlen = slices.len() as _;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: both slices point into buffers that are borrowed for the call and have the lengths
    // given, as has the room for control messages; `message` outlives the call.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    Ok(Received { len: len.saturating_sub(HEADER), tag: tag(&message) })
}

/// The tag that a received message tells of.
fn tag(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel has filled the room for control messages as far as `message` now says, and
    // nothing has touched it since.
    let first = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    let is_aux = first.cmsg_level == libc::SOL_PACKET && first.cmsg_type == libc::PACKET_AUXDATA;
    // SAFETY: computes a length and touches nothing.
    let wanted = unsafe { libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as u32) };
    if !is_aux || (first.cmsg_len as usize) < wanted as usize {
        return None;
    }
    // SAFETY: a message of this kind and length holds one `tpacket_auxdata`, which is integers
    // only; the read is unaligned on purpose.
    let aux: libc::tpacket_auxdata =
        unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(first).cast()) };
    let has = |flag: u32| aux.tp_status & flag != 0;
    let kind = if has(libc::TP_STATUS_VLAN_TPID_VALID) { aux.tp_vlan_tpid } else { 0x8100 };
    has(libc::TP_STATUS_VLAN_VALID).then_some((kind, aux.tp_vlan_tci))
}

/// Asks what an interface is; any socket of its network namespace will do.
///
/// # Errors
/// `ENODEV` when there is none of that name.
pub fn facts(fd: &OwnedFd, name: &str) -> io::Result<Facts> {
    let index = rustix::net::netdevice::name_to_index(fd, name)?;
    let address = ask(fd, libc::SIOCGIFHWADDR, name)?;
    let mtu = ask(fd, libc::SIOCGIFMTU, name)?;
    let flags = ask(fd, libc::SIOCGIFFLAGS, name)?;
    // SAFETY: the kernel has filled the part of the union that belongs to each request; all parts
    // are integers, so that any bits are a value.
    let (address, mtu, flags) =
        unsafe { (address.ifr_ifru.ifru_hwaddr, mtu.ifr_ifru.ifru_mtu, flags.ifr_ifru.ifru_flags) };
    let mut mac = MacAddr::ZERO;
    for (octet, from) in mac.0.iter_mut().zip(address.sa_data) {
        *octet = from as u8;
    }
    let running = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(Facts {
        index,
        mac,
        mtu: u32::try_from(mtu).unwrap_or_default(),
        is_ethernet: address.sa_family == libc::ARPHRD_ETHER,
        is_running: c_int::from(flags) & running == running,
    })
}

fn ask(fd: &OwnedFd, request: libc::Ioctl, name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is a name and a union of integers, for which zero is a value.
    let mut asked: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let name = name.as_bytes();
    if name.len() >= asked.ifr_name.len() || name.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in asked.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the requests made through here read and write one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut asked) })?;
    Ok(asked)
}

fn set_int(fd: &OwnedFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the options set through here read one `int`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    })
}

fn check(answer: c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
