//! TAP devices: what `open("/dev/net/tun")` and a handful of `ioctl`s can do.
//!
//! A TAP belongs to the network namespace of the thread that *opened* `/dev/net/tun`, not of the
//! one that named the device. Every descriptor made here is non-blocking and close-on-exec, and its
//! frames start with a [virtio-net header](weft_frame::virtio) of 12 octets, little-endian.
//!
//! Source: Linux `Documentation/networking/tuntap.rst`, `include/uapi/linux/if_tun.h`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// The device node that every TAP comes from.
pub const DEVICE: &CStr = c"/dev/net/tun";

const IFF_TAP: libc::c_int = 0x0002;
const IFF_NO_PI: libc::c_int = 0x1000;
const IFF_VNET_HDR: libc::c_int = 0x4000;

const TUN_F_CSUM: libc::c_uint = 0x01;
const TUN_F_TSO4: libc::c_uint = 0x02;
const TUN_F_TSO6: libc::c_uint = 0x04;
const TUN_F_USO4: libc::c_uint = 0x20;
const TUN_F_USO6: libc::c_uint = 0x40;

/// What the kernel may hand us unfinished: checksums, and TCP and UDP superframes.
const OFFLOADS: libc::c_uint = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6;
/// The same for kernels before 6.2, which know no UDP segmentation on a TAP.
const OFFLOADS_WITHOUT_USO: libc::c_uint = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;

/// The name and flags of an interface, as `struct ifreq` has them.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    padding: [u8; 22],
}

/// What a descriptor says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The interface's name in its own namespace.
    pub name: String,
    /// Whether it is a TAP with virtio-net headers and without packet information.
    pub carries_superframes: bool,
}

/// Makes, or attaches to, the TAP `name` in the thread's network namespace.
///
/// An existing persistent TAP can be attached to by its owner without any capability; making one
/// needs `CAP_NET_ADMIN` in the namespace.
///
/// # Errors
/// `EACCES` when `/dev/net/tun` is closed to the caller, `EPERM` without the capability, `EBUSY`
/// when another process holds the device, `EINVAL` for a name that is no interface name.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    let mut request = InterfaceRequest::named(name)?;
    request.flags = (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) as libc::c_short;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(DEVICE, flags, Mode::empty())?;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `request` is laid out as and
    // which outlives the call.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    check(answer)?;
    set_up(fd.as_fd())?;
    Ok(fd)
}

/// Asks for 12-octet little-endian headers and for every offload the kernel has.
///
/// # Errors
/// `EBADFD` when the device has gone.
pub fn set_up(fd: BorrowedFd<'_>) -> io::Result<()> {
    let header_len: libc::c_int = weft_frame::virtio::LEN as libc::c_int;
    let little_endian: libc::c_int = 1;
    set_int(fd, libc::TUNSETVNETHDRSZ, &header_len)?;
    set_int(fd, libc::TUNSETVNETLE, &little_endian)?;
    set_offload(fd, OFFLOADS).or_else(|_| set_offload(fd, OFFLOADS_WITHOUT_USO))
}

/// Asks a descriptor which TAP it is.
///
/// # Errors
/// `ENOTTY` or `EBADFD` when it is none.
pub fn identify(fd: BorrowedFd<'_>) -> io::Result<Identity> {
    let mut request = InterfaceRequest { name: [0; libc::IFNAMSIZ], flags: 0, padding: [0; 22] };
    // SAFETY: TUNGETIFF writes one `struct ifreq`, which `request` is laid out as and which
    // outlives the call. A descriptor of another kind refuses the request without touching it.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    check(answer)?;
    let flags = libc::c_int::from(request.flags);
    let wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    let name = CStr::from_bytes_until_nul(&request.name).unwrap_or_default();
    Ok(Identity {
        name: name.to_string_lossy().into_owned(),
        carries_superframes: flags & wanted == wanted,
    })
}

impl InterfaceRequest {
    fn named(name: &str) -> io::Result<Self> {
        let octets = name.as_bytes();
        if octets.is_empty() || octets.len() >= libc::IFNAMSIZ || octets.contains(&0) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut request = Self { name: [0; libc::IFNAMSIZ], flags: 0, padding: [0; 22] };
        request.name[..octets.len()].copy_from_slice(octets);
        Ok(request)
    }
}

fn set_int(fd: BorrowedFd<'_>, request: libc::Ioctl, value: &libc::c_int) -> io::Result<()> {
    // SAFETY: both requests made through here read one `int`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_ref(value)) })
}

fn set_offload(fd: BorrowedFd<'_>, offloads: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, offloads as libc::c_ulong) })
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
