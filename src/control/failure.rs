//! Errors on their way out of the control plane: a status, a line, a remedy.

use crate::api::shapes::Failure;
use crate::cnm::refusal::Refusal;
use crate::runtime::AddPortError;

/// Why a request was not carried out.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The HTTP status that says the same.
    pub status: u16,
    /// The words.
    pub failure: Failure,
    /// The rule behind it, for a door that has words of its own for rules.
    pub refusal: Option<Box<Refusal>>,
}

impl Rejected {
    /// A rejection in one line.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let failure = Failure { message: message.into(), help: None };
        Self { status, failure, refusal: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.failure.help = Some(help.into());
        self
    }
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "any other refusal is a bad request")]
        let status = match refusal {
            Refusal::UnknownNetwork { .. } | Refusal::UnknownEndpoint { .. } => 404,
            Refusal::NetworkExists { .. }
            | Refusal::EndpointExists { .. }
            | Refusal::IdTaken { .. }
            | Refusal::AddressTaken { .. }
            | Refusal::MacTaken { .. }
            | Refusal::Overlap { .. }
            | Refusal::ParentInUse { .. }
            | Refusal::PassthruTaken { .. } => 409,
            Refusal::NetworkInUse { .. } | Refusal::BuiltIn { .. } => 403,
            _ => 400,
        };
        let failure = Failure { message: refusal.to_string(), help: refusal.help() };
        Self { status, failure, refusal: Some(Box::new(refusal)) }
    }
}

impl From<AddPortError> for Rejected {
    fn from(error: AddPortError) -> Self {
        Self::new(400, crate::cli::chain(&error))
    }
}
