//! Everything that needs `unsafe`, and nothing else.
//!
//! Safe wrappers of system calls come from `rustix`. What it does not offer, or offers as `unsafe`
//! because the caller must keep a promise, is here, one call per function:
//!
//! | call | in | why it cannot be safe code elsewhere |
//! | --- | --- | --- |
//! | `ioctl(TUNSETIFF, …)` | [`tap`] | a structure whose layout only the request number tells |
//! | `setsockopt`, `bind`, `recvmsg`, `ioctl(SIOCGIF…)` | [`packet`] | structures, and control messages whose kind tells their layout |
//! | `clone`, `_exit` | [`process`] | one thread goes on in the child |
//! | `sched_setscheduler` | [`process`] | a structure that grew over time |
//! | `pthread_sigmask`, `signalfd` | [`process`] | the mask belongs to the whole thread |
//!
//! Nothing here decides anything: each function makes one request of the kernel and turns the
//! answer into `io::Result`.
#![allow(unsafe_code)]

pub mod packet;
pub mod process;
pub mod tap;
