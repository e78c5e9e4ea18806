//! Life lines over a pair of sockets.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Peer;

use super::*;
use crate::api::lifeline::Lifeline;
use crate::sandbox::fdpass;

/// Long enough for what is there already.
const SOON: Duration = Duration::from_millis(60);

fn line() -> (Line, Peer) {
    let (ours, theirs) = Peer::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let socket = UnixStream::from_std(ours).unwrap();
    (Line::new(socket, SOON), theirs)
}

fn executor() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Says that a program runs, and passes `descriptor` along, followed by the octets of `rest`.
fn say(peer: &Peer, descriptor: &Peer, rest: &[u8]) {
    let mut octets = encode(&FromSandbox::Running { pid: 1 }).unwrap();
    octets.extend_from_slice(rest);
    fdpass::send(peer.as_fd(), &octets, Some(descriptor.as_fd())).unwrap();
}

#[test]
fn a_life_line_ends_though_its_own_end_was_sent_along() {
    executor().block_on(async {
        let (mut line, peer) = line();
        say(&peer, &peer, b"");
        drop(peer);
        assert!(line.next().await.unwrap().is_some());
        assert!(line.next().await.unwrap().is_none());
    });
}

#[test]
fn the_rest_of_a_message_is_not_waited_for_without_end() {
    executor().block_on(async {
        let (mut line, peer) = line();
        say(&peer, &peer, b"{");
        drop(peer);
        assert!(line.next().await.unwrap().is_some());
        // Called away again and again, as by news of neighbours.
        let waits = async {
            loop {
                if let Ok(said) = timeout(SOON / 3, line.next()).await {
                    return said;
                }
            }
        };
        let ended = timeout(PATIENCE, waits).await.unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_descriptor_is_kept_for_the_message_it_came_with() {
    executor().block_on(async {
        let (mut line, peer) = line();
        let mut lifeline = Lifeline::new(peer.try_clone().unwrap()).unwrap();
        lifeline.send(&FromSandbox::Running { pid: 1 }, None).unwrap();
        let endpoint = Id::new([1; 32]);
        lifeline.send(&FromSandbox::Port { endpoint }, Some(peer.as_fd())).unwrap();
        assert!(matches!(line.next().await, Ok(Some(FromSandbox::Running { .. }))));
        assert!(matches!(line.next().await, Ok(Some(FromSandbox::Port { .. }))));
        assert_eq!(line.inbox.descriptors.len(), 1);
    });
}

#[test]
fn a_sandbox_that_does_not_listen_is_given_up() {
    executor().block_on(async {
        let (mut line, _peer) = line();
        let sent = line.send_octets(&vec![b' '; 4 << 20]).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    });
}
