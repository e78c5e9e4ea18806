//! A network driver of one's own, and a weft that has it.
//!
//! `guests` is a network for people who visit: nobody reaches anybody else, nobody floods, a few
//! fit in. The program is weft in every other way:
//!
//! ```text
//! cargo run --example driver -- up --detach
//! cargo run --example driver -- network create --driver guests visitors
//! ```
//!
//! What each answer means is said at [`NetworkDriver`]; `docs/drivers.md` goes through it.

use std::num::NonZeroU32;
use std::process::ExitCode;

use weft::cnm::driver::{self, NetworkDriver, Present};
use weft::cnm::{Network, NetworkOptions, NetworkSpec, Refusal};

/// How many fit in.
const MOST: usize = 8;
/// Frames a second that each may flood, unless the network says otherwise.
const FLOODED: NonZeroU32 = NonZeroU32::new(50).expect("it is not zero");

/// The driver `guests`.
#[derive(Debug)]
struct Guests;

impl NetworkDriver for Guests {
    fn name(&self) -> &'static str {
        "guests"
    }

    fn check(&self, wish: &NetworkSpec) -> Result<(), Refusal> {
        if wish.options.uplink.parent.is_none() {
            return Ok(());
        }
        Err(self.refusal("guests stay inside", "leave the parent out"))
    }

    fn admit(&self, network: &Network, present: Present<'_, '_>) -> Result<(), Refusal> {
        if present.count() < MOST {
            return Ok(());
        }
        let message = format!("there are {MOST} in network {} already", network.name);
        Err(self.refusal(&message, "make another one for the others"))
    }

    fn arrange(&self, options: &mut NetworkOptions) {
        options.live.isolated = true;
        options.live.storm_control.get_or_insert(FLOODED);
    }
}

impl Guests {
    fn refusal(&self, message: &str, help: &str) -> Refusal {
        Refusal::ByDriver {
            driver: self.name(),
            message: message.to_owned(),
            help: Some(help.to_owned()),
        }
    }
}

fn main() -> ExitCode {
    if let Err(error) = driver::add(&Guests) {
        eprintln!("weft: {error}");
        return ExitCode::FAILURE;
    }
    weft::cli::main()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::path::Path;

    use super::*;
    use weft::config::Config;

    #[test]
    fn a_file_may_name_the_driver_and_its_rules_hold() {
        driver::add(&Guests).unwrap();
        assert_eq!(
            driver::add(&Guests).unwrap_err().to_string(),
            "there is a driver guests already"
        );
        let endpoints = |count: usize| -> String {
            let one = |n| format!("[endpoints.e{n}]\nnetwork = \"v\"\ncommand = [\"true\"]\n");
            (0..count).map(one).collect()
        };
        let load = |options: &str, count| {
            let text = format!(
                "[networks.v]\ndriver = \"guests\"\noptions = {{ {options} }}\n{}",
                endpoints(count)
            );
            Config::parse(&text, Path::new("weft.toml")).map_err(|errors| errors.to_string())
        };
        assert!(load("", MOST).is_ok());
        let errors = load("", MOST + 1).unwrap_err();
        assert!(errors.contains("there are 8 in network v already"), "{errors}");
        let errors = load("parent = \"eth0\"", 0).unwrap_err();
        assert!(errors.contains("driver guests: guests stay inside"), "{errors}");
    }
}
