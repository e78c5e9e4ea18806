//! What sandboxes are called.
//!
//! A sandbox without a name of its own gets its program's and the lowest number that is free. From
//! which number on to look is kept for each program, so that a thousand of them come without
//! looking at each other.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use super::failure::Rejected;
use crate::api::shapes::AttachRequest;
use crate::cnm::id::{MAX_NAME, is_name};
use crate::cnm::refusal::Refusal;

/// How much of a program's name is kept, so that a number fits behind it.
const MAX_STEM: usize = 32;
/// Programs whose lowest number is remembered.
const MAX_STEMS: usize = 1024;

/// The names in use.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: BTreeSet<String>,
    /// For a program, the number below which all are taken.
    lowest: BTreeMap<String, u64>,
}

impl Names {
    /// Notes that a name is in use.
    pub(crate) fn take(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// Notes that a name is free again.
    pub(crate) fn free(&mut self, name: &str) {
        self.taken.remove(name);
        if let Some((stem, number)) = name.rsplit_once('-')
            && let Ok(number) = number.parse::<u64>()
            && let Some(lowest) = self.lowest.get_mut(stem)
        {
            *lowest = number.clamp(1, *lowest);
        }
    }

    /// The first of `stem-1`, `stem-2` and so on that is free, also in the eyes of `is_free`.
    fn numbered(&mut self, stem: &str, is_free: impl Fn(&str) -> bool) -> String {
        if self.lowest.len() >= MAX_STEMS && !self.lowest.contains_key(stem) {
            self.lowest.clear();
        }
        let lowest = self.lowest.entry(stem.to_owned()).or_insert(1);
        loop {
            let name = format!("{stem}-{lowest}");
            if !self.taken.contains(&name) && is_free(&name) {
                return name;
            }
            *lowest += 1;
        }
    }
}

impl State {
    /// The name of a sandbox that is coming: the one it asks for, or one that is made up.
    ///
    /// # Errors
    /// When it asks for one that it cannot have.
    pub(crate) fn name_for(&mut self, request: &AttachRequest) -> Result<String, Rejected> {
        let declared = &self.declared.endpoints;
        let Some(name) = &request.name else {
            let program = request.command.first().map_or("sandbox", String::as_str);
            let is_free = |name: &str| !declared.contains_key(name);
            return Ok(self.names.numbered(&stem_of(program), is_free));
        };
        if !is_name(name) {
            // A name may come with as many octets as a message has.
            let name = name.chars().take(MAX_NAME + 1).collect();
            return Err(Refusal::BadName { what: "a sandbox", name }.into());
        }
        let awaited = request.sandbox.and_then(|id| self.awaited.get(&id));
        let is_its_own = awaited.is_some_and(|awaited| awaited.name == *name);
        if self.names.taken.contains(name) && !is_its_own {
            if self.awaited.values().any(|awaited| awaited.name == *name) {
                let message = format!(
                    "the name {name} is kept for a sandbox of the appliance before this one"
                );
                return Err(Rejected::new(409, message).help(
                    "wait some seconds, in case it does not come back, or choose another name",
                ));
            }
            let message = format!("the name {name} is taken by another sandbox");
            return Err(Rejected::new(409, message)
                .help("choose another name; `weft ps` lists the names in use"));
        }
        match (declared.contains_key(name), request.declared) {
            (true, true) | (false, false) => Ok(name.clone()),
            (false, true) => {
                Err(Rejected::new(409, format!("the file declares no endpoint {name} any more")))
            }
            (true, false) => {
                let message = format!("the name {name} belongs to an endpoint of the file");
                Err(Rejected::new(409, message).help("choose another name"))
            }
        }
    }
}

/// The part of a program's path that makes a name.
fn stem_of(program: &str) -> String {
    let file = program.rsplit('/').next().unwrap_or_default();
    let stem: String = file
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c))
        .take(MAX_STEM)
        .collect();
    let stem = stem.trim_start_matches(['_', '.', '-']);
    if stem.is_empty() { "sandbox".to_owned() } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_name_has_the_lowest_free_number() {
        let mut names = Names::default();
        let next = |names: &mut Names| {
            let name = names.numbered("sh", |name| name != "sh-2");
            names.take(&name);
            name
        };
        assert_eq!([(); 3].map(|()| next(&mut names)), ["sh-1", "sh-3", "sh-4"]);
        names.free("sh-3");
        names.free("sh-1");
        names.free("other-0");
        names.free("sh-0");
        assert_eq!([(); 3].map(|()| next(&mut names)), ["sh-1", "sh-3", "sh-5"]);
    }

    #[test]
    fn what_is_remembered_of_programs_has_a_bound() {
        let mut names = Names::default();
        for program in 0..3 * MAX_STEMS {
            names.numbered(&format!("program{program}"), |_| true);
        }
        assert!(names.lowest.len() <= MAX_STEMS);
    }

    #[test]
    fn a_stem_is_what_a_name_may_begin_with() {
        let long = "x".repeat(100);
        let cases = [
            ("/usr/bin/python3", "python3"),
            ("--flag", "flag"),
            ("", "sandbox"),
            ("/", "sandbox"),
            ("\u{1b}[31m", "31m"),
            (&*long, &long[..MAX_STEM]),
        ];
        for (program, stem) in cases {
            assert_eq!(stem_of(program), stem, "{program:?}");
            assert!(is_name(&stem_of(program)));
        }
    }
}
