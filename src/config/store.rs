//! `[store]`: where what exists is kept.

use std::path::PathBuf;

use super::finding::Findings;
use super::keys::{Form, Keys, Takes, key};
use super::section::Section;

/// The kinds of store.
const KINDS: [&str; 2] = ["embedded", "memory"];

pub(super) static KEYS: Keys = Keys::new(&[
    key("kind", Takes::Word(|| KINDS.to_vec())).or("\"embedded\""),
    key("folder", Takes::Text(Form::PATH)),
])
.later(&[("endpoints", "this version keeps state on one host only")]);

/// Where what exists is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StorePlace {
    /// In a folder that suits the socket.
    #[default]
    Usual,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere: it ends with the appliance.
    Memory,
}

pub(super) fn read(root: &Section<'_>, findings: &mut Findings) -> StorePlace {
    let Some(section) = root.table("store", &KEYS, findings) else { return StorePlace::Usual };
    let kind = section.text("kind", findings);
    let folder = section.text("folder", findings);
    if let Some(kind) = kind.as_ref().filter(|kind| !KINDS.contains(kind.get_ref())) {
        let help = match *kind.get_ref() {
            "etcd" => "this version keeps state on one host only: \"embedded\" or \"memory\"",
            _ => "\"embedded\", which survives, or \"memory\", which ends with the appliance",
        };
        findings.add(kind.span(), format_args!("the store cannot be {:?}", kind.get_ref()), help);
        return StorePlace::Usual;
    }
    let is_memory = kind.is_some_and(|kind| *kind.get_ref() == "memory");
    match (is_memory, folder) {
        (true, Some(folder)) => {
            let help = "take the folder out, or choose the kind \"embedded\"";
            findings.add(folder.span(), "a store in memory has no folder", help);
            StorePlace::Memory
        }
        (true, None) => StorePlace::Memory,
        (false, Some(folder)) if folder.get_ref().is_empty() => {
            findings.add(
                folder.span(),
                "the folder has no name",
                "write folder = \"/var/lib/weft\"",
            );
            StorePlace::Usual
        }
        (false, Some(folder)) => StorePlace::Folder(PathBuf::from(*folder.get_ref())),
        (false, None) => StorePlace::Usual,
    }
}
