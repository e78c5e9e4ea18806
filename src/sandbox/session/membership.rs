//! A sandbox that runs joins further networks and leaves them.

use std::os::fd::OwnedFd;

use super::{Session, remembered};
use crate::api::shapes::{Assigned, EndpointRequest, Failure, FromSandbox};
use crate::cnm::{Id, Publish};

impl Session {
    /// Takes a further endpoint in, with the port that was made for it. An appliance that does not
    /// take the port is as good as gone, and the endpoint with it.
    pub fn join(&mut self, endpoint: Assigned, port: Option<OwnedFd>) {
        let place = self.endpoints.len();
        let request = EndpointRequest { aliases: endpoint.aliases.clone(), ..Default::default() };
        self.request.endpoints.push(remembered(&request, &endpoint));
        self.endpoints.push(endpoint);
        self.ports.push(None);
        let Some(port) = port else { return };
        if let Err(error) = self.offer(place, port) {
            tracing::debug!(%error, "the appliance did not take a further port");
            self.forget(place);
            self.lose();
        }
    }

    /// Remembers what an endpoint publishes, for the next appliance.
    pub(super) fn published(&mut self, endpoint: Id, publish: Vec<Publish>) {
        if let Some(place) = self.endpoints.iter().position(|own| own.id == endpoint) {
            self.request.endpoints[place].publish.clone_from(&publish);
            self.endpoints[place].publish = publish;
        }
    }

    /// Tells the appliance that there can be no interface for an endpoint.
    pub fn refuse(&mut self, endpoint: Id, failure: Failure) {
        self.tell(&FromSandbox::Unconnected { endpoint, failure });
    }

    /// Lets go of an endpoint and its port, and tells the appliance.
    pub fn leave(&mut self, endpoint: Id) {
        if let Some(place) = self.endpoints.iter().position(|own| own.id == endpoint) {
            self.forget(place);
        }
        self.tell(&FromSandbox::Disconnected { endpoint });
    }

    fn forget(&mut self, place: usize) {
        self.request.endpoints.remove(place);
        self.endpoints.remove(place);
        self.ports.remove(place);
    }

    /// Says what needs no answer.
    fn tell(&mut self, message: &FromSandbox) {
        if let Err(error) = self.send(message, None) {
            tracing::debug!(%error, "the appliance did not hear of it");
            self.lose();
        }
    }
}
