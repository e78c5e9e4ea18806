//! What to do when the kernel says no: the remedies behind `help:` lines.

use std::fs;
use std::io;

/// Settings that keep ordinary users from making namespaces, with the value that lets them.
const USER_NAMESPACE_SETTINGS: [(&str, &str, &str); 3] = [
    // Debian's own.
    ("kernel.unprivileged_userns_clone", "0", "1"),
    // Ubuntu 23.10 and later.
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    // The kernel's.
    ("user.max_user_namespaces", "0", "10000"),
];

/// Why namespaces may have been refused, and what changes that.
pub fn namespaces(error: &io::Error) -> Option<String> {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSPC | libc::EUSERS) => Some(user_namespaces()),
        _ => None,
    }
}

/// What helps when a step on the inside of a sandbox failed, judged by its message.
pub fn inside(text: &str) -> Option<String> {
    if text.contains("/dev/net/tun") && text.contains("busy") {
        return Some("an interface of that name is in use; choose another name".to_owned());
    }
    if text.contains("/dev/net/tun") {
        return Some(tun_device());
    }
    let denied = text.contains("denied") || text.contains("not permitted");
    (denied && text.starts_with("mapping")).then(user_namespaces)
}

/// How to open `/dev/net/tun`.
pub fn tun_device() -> String {
    if fs::metadata("/dev/net/tun").is_ok() {
        "distributions let everybody use it: sudo chmod 0666 /dev/net/tun".to_owned()
    } else {
        "load the kernel's module: sudo modprobe tun; in a container, start it with --device /dev/net/tun"
            .to_owned()
    }
}

fn user_namespaces() -> String {
    for (name, closed, open) in USER_NAMESPACE_SETTINGS {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        if fs::read_to_string(path).is_ok_and(|value| value.trim() == closed) {
            return format!(
                "this system keeps users from making namespaces: sudo sysctl {name}={open}"
            );
        }
    }
    "this system, or the container around, keeps users from making namespaces; run weft as root, \
     or start the container with --security-opt seccomp=unconfined"
        .to_owned()
}
