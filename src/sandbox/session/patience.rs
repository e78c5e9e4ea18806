//! How long a sandbox waits for the appliance to answer.

use std::time::Duration;

use super::{Session, SessionError};
use crate::api::client::Client;
use crate::api::lifeline::Lifeline;

/// How long the appliance may take for an answer when a sandbox comes,
pub(super) const FIRST: Duration = Duration::from_secs(10);
/// and when it comes back and has a program to attend to meanwhile.
pub(super) const AGAIN: Duration = Duration::from_secs(2);
/// How long the first answer may take when the appliance says that it takes longer: it may ask a
/// plugin for each address,
const FIRST_MOST: Duration = Duration::from_secs(600);
/// and how long when there is a program to attend to.
const AGAIN_MOST: Duration = Duration::from_secs(10);

impl Session {
    /// Waits longer for the answer, as the appliance asks somebody else first.
    pub(super) fn wait_for(&mut self, announced: Duration) -> Result<(), SessionError> {
        let most = if self.running.is_some() { AGAIN_MOST } else { FIRST_MOST };
        self.wait_at_most(announced.clamp(AGAIN, most))
    }

    /// Waits no longer than before somebody else was asked.
    pub(super) fn wait_as_usual(&mut self) -> Result<(), SessionError> {
        self.wait_at_most(if self.running.is_some() { AGAIN } else { FIRST })
    }

    fn wait_at_most(&mut self, patience: Duration) -> Result<(), SessionError> {
        let lifeline = self.lifeline.as_mut().ok_or(SessionError::Lost)?;
        Ok(lifeline.wait_for(patience)?)
    }
}

/// A life line on which no answer is waited for longer than `patience`.
pub(super) fn connect(client: &Client, patience: Duration) -> Result<Lifeline, SessionError> {
    let socket = client.attach(patience)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    Ok(Lifeline::new(socket)?)
}
