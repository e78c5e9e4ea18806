//! Who the program in a sandbox is: the mapping of users, and capabilities over its own network.
//!
//! The caller is mapped to itself, or to root when asked for. Either way the program has no rights
//! outside that the caller does not have. Over its own network stack it has the capabilities to
//! configure interfaces, to listen on low ports and to capture.
//!
//! Source: Linux `user_namespaces(7)`, `capabilities(7)`.

use std::fs;
use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    set_capabilities,
};

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    user: u32,
    group: u32,
}

impl Caller {
    /// Who this process runs as. To be asked before a fork into a new user namespace: inside, until
    /// the map is written, everybody is nobody.
    pub fn current() -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self { user, group: rustix::process::getegid().as_raw() }
    }

    /// Maps the caller into the user namespace that this process has just been forked into.
    ///
    /// # Errors
    /// As writing the map files.
    pub fn map(self, as_root: bool) -> io::Result<()> {
        let Self { user, group } = self;
        let (inner_user, inner_group) = if as_root { (0, 0) } else { (user, group) };
        // Without privilege a group map may be written only once setgroups is denied.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/gid_map", format!("{inner_group} {group} 1"))?;
        fs::write("/proc/self/uid_map", format!("{inner_user} {user} 1"))
    }
}

/// Whether this process may make namespaces without a user namespace of its own.
pub fn is_privileged() -> bool {
    capabilities(None).is_ok_and(|sets| {
        sets.effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN)
    })
}

/// Keeps the capabilities that concern the network through the `execve` that follows, although the
/// program is not root.
///
/// # Errors
/// As `capset` and `prctl`.
pub fn keep_network_capabilities() -> rustix::io::Result<()> {
    let kept = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE;
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { inheritable: sets.inheritable | kept, ..sets })?;
    for capability in
        [CapabilitySet::NET_ADMIN, CapabilitySet::NET_RAW, CapabilitySet::NET_BIND_SERVICE]
    {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
