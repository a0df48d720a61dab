//! The SYN of a connection that was given to another backend is sent there.
//!
//! By whichever worker found that it has to: every worker writes to all ports. The copy goes through what every frame goes through, but for
//! the choice, which is made.

use protocol::PortId;

use super::begins;
use super::openings::Opening;
use crate::action::{Action, Refusal};
use crate::burst::Burst;
use crate::conntrack::{Cause, Hit};
use crate::frame::Frame;
use crate::output::Egress;
use crate::received::Received;
use crate::switch::{Done, Switch};
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::window::Seen;
use crate::wire::Body;

/// The connection that was given to another backend, whose SYN is to be sent there; and a frame to send it in.
#[derive(Debug)]
pub(crate) struct Again {
    pub(super) hit: Option<Hit>,
    frame: Option<Frame>,
}

impl Again {
    pub(crate) fn new() -> Self {
        Self { hit: None, frame: Some(Frame::new()) }
    }
}

impl Switch {
    /// A frame is dropped: its sender is told, if there is something to tell; or it was, or is about, a SYN that is offered to another
    /// backend. `connection`: whose it is, if it may have been translated already.
    pub(crate) fn refuse(
        &mut self,
        (refusal, connection): (Refusal, Option<Hit>),
        ingress: PortId,
        frame: &Frame,
        received: &Received,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Verdict<Done> {
        if refusal.reason == DropReason::FailedOver {
            self.offer_again(now, egress);
        } else if is_no_way(refusal.reason)
            && let Body::Ipv4(ip) = &received.packet.body
            && begins(ip)
            && self.slow_path.on_no_way(connection, ip, now)
        {
            self.offer_again(now, egress);
            return Ok(Done::Forwarded);
        }
        Err(self.report(refusal, ingress, frame, received, now, egress))
    }

    /// Sends the SYN of the connection that was given to another backend.
    #[cold]
    fn offer_again(&mut self, now: Instant, egress: &mut impl Egress) {
        let Some(mut frame) = self.slow_path.again.frame.take() else { return };
        // Ends: each time it is another backend's, of which there are few.
        while let Some(hit) = self.slow_path.again.hit.take() {
            self.offer_to(hit, &mut frame, now, egress);
        }
        self.slow_path.again.frame = Some(frame);
    }

    fn offer_to(&mut self, hit: Hit, frame: &mut Frame, now: Instant, egress: &mut impl Egress) {
        let Some(opening) = self.slow_path.shared.openings.lookup(hit.id) else { return };
        opening.restore(frame);
        let Ok(mut received) = Received::read(frame) else { return };
        let Err(refusal) = self.send_opening(hit, &opening, frame, &mut received, now, egress) else {
            return;
        };
        if is_no_way(refusal.reason) && self.slow_path.fail_over(hit.id, &opening, Cause::Unreachable, now) {
            return;
        }
        // What the client would have heard from the last backend, had it a way.
        opening.restore(frame);
        if is_no_way(refusal.reason)
            && let Ok(received) = Received::read(frame)
        {
            let refusal = Refusal::unreachable(refusal.reason);
            self.report(refusal, opening.ingress, frame, &received, now, egress);
        }
    }

    fn send_opening(
        &mut self,
        hit: Hit,
        opening: &Opening,
        frame: &mut Frame,
        received: &mut Received,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Result<(), Refusal> {
        let Body::Ipv4(ip) = &received.packet.body else { return Ok(()) };
        let ingress = opening.ingress;
        let port = self.ports.get(ingress).ok_or(DropReason::PortDetached)?;
        let action = self.slow_path.route_translated(&self.ports, &port.config, ip, hit)?;
        let said = (&*frame, ip);
        let action = self.slow_path.police(&self.ports, &port.config, said, Some(hit), action, now)?;
        if let Action::Resolve { next_hop } = action {
            let burst = Burst::single(frame);
            let seen = Seen { bytes: 0, packets: 0, received: Ok(*received), probe: None };
            self.hold(next_hop, ingress, frame, &seen, burst, now)?;
            // It was counted when it came in.
            self.held.count_last(0, 0);
            return Ok(());
        }
        self.carry_out(action, ingress, frame, received, now, egress)?;
        if let Action::Forward { forward, .. } = action
            && let Some(port) = self.ports.get_mut(forward.egress)
        {
            port.counters.originated();
        }
        Ok(())
    }
}

/// Drops of a packet that had somewhere to go, but no way there.
const fn is_no_way(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::NoNeighbor
            | DropReason::NoRoute
            | DropReason::NextHopUnresolved
            | DropReason::EgressClosed
            | DropReason::PortGone
            | DropReason::UnderlayUnreachable
    )
}
