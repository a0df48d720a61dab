//! Consecutive frames of one flow, merged and written at once.
//!
//! Only frames that came in one after the other, in one window, are looked at: nothing waits for a
//! follower, and no frame overtakes another. What may be merged, and why a receiver cannot tell, is
//! [`Merge`]'s business; here is decided for whom it pays: a flow the table knows, whose destination takes
//! superframes of the kind and would take the head by itself.

use protocol::PortId;

use crate::action::Forward;
use crate::frame::Frame;
use crate::offload::merge::Merge;
use crate::output::Takes;
use crate::received::Received;
use crate::switch::Switch;
use crate::window::Seen;
use crate::wire::Body;

/// What one write carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burst {
    pub(crate) frames: usize,
    /// From the Ethernet headers on, as if each frame were written by itself.
    pub(crate) bytes: usize,
}

impl Burst {
    pub(crate) fn single(frame: &Frame) -> Self {
        Self { frames: 1, bytes: frame.ethernet_len() }
    }
}

impl Switch {
    /// Merges into `head` what follows it, as far as that goes.
    pub(crate) fn gather(
        &self,
        head: &mut Frame,
        seen: &mut Seen,
        next: &[(PortId, Frame)],
        next_seen: &[Seen],
    ) -> Burst {
        let mut burst = Burst::single(head);
        // Most frames end here: the batch has one frame, or the next is another flow's.
        if !next_seen.first().is_some_and(|next| is_same_flow(seen, next)) {
            return burst;
        }
        let Some(mut merge) = self.begin(head, seen) else { return burst };
        for ((_, next), next_seen) in next.iter().zip(next_seen) {
            let (Ok(received), Ok(next_received)) = (&seen.received, &next_seen.received) else { break };
            if !is_same_flow(seen, next_seen) || !merge.append(head, received, next.ethernet(), next_received)
            {
                break;
            }
            burst.frames += 1;
            burst.bytes += next.ethernet_len();
        }
        if let Ok(received) = &mut seen.received {
            merge.finish(head, received);
        }
        burst
    }

    fn begin(&self, head: &Frame, seen: &Seen) -> Option<Merge> {
        let (probe, received) = (seen.probe.as_ref()?, seen.received.as_ref().ok()?);
        let merge = Merge::start(head, received)?;
        let (_, forward) = self.flows.lookup(probe)?;
        let to = self.ports.get(forward.egress)?;
        let ip_mtu = match forward.peer() {
            Some(peer) => self.slow_path.overlay.peers.get(peer)?.ip_mtu().into(),
            None => to.ip_mtu(),
        };
        let pays =
            Takes::of(&to.config).segments(merge.segments()) && is_forwarded(&forward, received, ip_mtu);
        pays.then_some(merge)
    }
}

fn is_same_flow(head: &Seen, next: &Seen) -> bool {
    head.probe.as_ref().zip(next.probe.as_ref()).is_some_and(|(head, next)| head.is_same_flow(next))
}

/// Whether the head passes what is checked for every frame: an ICMP error must quote one packet.
fn is_forwarded(forward: &Forward, received: &Received, ip_mtu: usize) -> bool {
    let Body::Ipv4(ip) = &received.packet.body else { return false };
    let expires = ip.ttl <= 1 && forward.rewrite.is_some_and(|rewrite| rewrite.counts_hop);
    !expires && received.offload.ip_len(ip) <= ip_mtu
}
