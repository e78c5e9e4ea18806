#![no_std]
#![forbid(unsafe_code)]
//! What a frame is: addresses, headers, checksums, and superframes.
//!
//! A **frame** is Ethernet from the destination address to the end of the payload, without preamble
//! and without FCS, and it is always a plain `&[u8]`. Nothing here owns, copies or frees one unless
//! it is asked to write into a buffer that the caller brings.
//!
//! A **superframe** is a frame larger than the MTU that stands for many: one set of headers, up to
//! 64 KiB of payload, and a checksum that is not filled in yet. It is the reason a userspace switch
//! can keep up with the kernel, because one system call then moves forty segments. A frame says
//! nothing about being one; the 12 octets of virtio-net header in front of it on a TAP do.
//!
//! ```text
//!              VirtioHeader                     frame
//!   TAP --> [ flags gso_type … ] [ Ethernet | IP | TCP | payload …………………… ]
//!                  |                                |
//!                  +---------- check ---------------+      once, at the door
//!                                |
//!                             Offload
//!            +-------------------+---------------------+
//!          None            Checksum{..}           Segment(Superframe)
//!     an ordinary         field still holds     a superframe; every offset in it
//!     frame, whole        the pseudo-header     was found in the frame, none was
//!                         sum                   taken from the guest's word
//! ```
//!
//! # Who may hold which
//!
//! | where | may hold |
//! | --- | --- |
//! | a TAP with a virtio-net header | all three, with the header that describes it |
//! | the switch | all three; it looks at the Ethernet header only |
//! | a tunnel, a stream socket, a capture file | [`Offload::None`] only |
//! | the gateway | what its parts ask for; it checks like anyone else |
//!
//! Going out of the middle row, [`complete_checksum`] turns a `Checksum` into a `None`, and
//! [`Segments`] turns a superframe into frames, either whole or as header and payload range so that
//! the payload stays where it is. Coming in from there, [`Coalescer`] turns consecutive segments of
//! one conversation into a superframe again, also without moving payload. The two are inverse:
//! coalescing what was segmented gives the superframe back, octet for octet.
//!
//! # Promises
//! - No octet of a frame and no field of a virtio-net header can cause a panic, an allocation or
//!   work beyond a stated bound ([`segment::MAX_SEGMENTS`], [`packet::MAX_HEADER`]).
//! - [`VirtioHeader::check`] believes no offset: it parses the frame and compares. Only what it
//!   returns is trusted further on.
//! - Frames that this crate writes are those the Linux kernel's own segmentation would have made.
//!
//! # Where to look
//! [`mac`], [`header`]: what the switch needs. [`packet`]: IP and transport offsets. [`checksum`]:
//! the arithmetic. [`virtio`], [`segment`], [`coalesce`]: superframes.

pub mod checksum;
pub mod coalesce;
pub mod header;
pub mod mac;
pub mod packet;
pub mod segment;
pub mod virtio;

pub use coalesce::Coalescer;
pub use header::{EtherType, Header, VlanTag};
pub use mac::MacAddr;
pub use packet::Packet;
pub use segment::{Segments, complete_checksum};
pub use virtio::{BadOffload, Offload, Superframe, VirtioHeader};
