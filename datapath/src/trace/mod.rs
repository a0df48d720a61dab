//! What would become of a packet, and why, without a packet.
//!
//! How it works: the packet is built, read and decided by the very code that frames go through, so an answer cannot differ
//! from what would happen. What that code would change is put aside for the while ([`trial`]): connections it makes are in a
//! scratch table, which finds what the real one has; sessions of clients and the turns of schedulers are copies; learning is
//! left out; counters of the ports it passes are put back. So nothing is created, learned, counted or sent, and
//! asking twice gives the same answer, but for schedulers that throw dice.
//!
//! Reasons are told from what the decisions were made of ([`explain`]). This is no path of frames: it allocates.

mod explain;
mod packet;
mod trial;

use std::net::{IpAddr, Ipv4Addr};

use protocol::link::{PortConfig, TracePacket};
use protocol::object::{ConnTuple, Trace, TraceStep};
use protocol::{Mac, PortId};

use crate::action::{Action, Forward, Refusal};
use crate::l3::icmp;
use crate::received::Received;
use crate::switch::Switch;
use crate::time::Instant;
use crate::verdict::DropReason;
use crate::wire::arp::{Arp, Operation};
use crate::wire::icmp::IcmpError;
use crate::wire::{Body, Packet};

/// What has been decided so far.
#[derive(Debug, Default)]
struct Steps(Vec<TraceStep>);

impl Steps {
    fn add(&mut self, step: &str, result: impl Into<String>, reason: impl Into<String>) {
        self.0.push(TraceStep { step: step.to_owned(), result: result.into(), reason: reason.into() });
    }
}

/// How it ends: the packet as it leaves, and by which port.
type End = Result<(PortId, Option<ConnTuple>), Refusal>;

impl Switch {
    /// What would become of the packet if the station behind its port sent it now.
    ///
    /// # Errors
    /// What is wrong with the question.
    pub fn trace(&mut self, wanted: &TracePacket, now: Instant) -> Result<Trace, String> {
        let port = self.ports.get(wanted.port).ok_or_else(|| format!("there is no port {}", wanted.port))?;
        let config = port.config.clone();
        let first = config.addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        let source = wanted.source.or(first).ok_or_else(|| format!("{} has no address", config.name))?;
        let mut steps = Steps::default();
        let mut sent: Option<(ConnTuple, u16)> = None;
        let end = self.walk(wanted, &config, source, now, &mut steps, &mut sent);
        let (packet, size) = sent.unwrap_or_else(|| (packet::tuple_of(wanted, source), wanted.size));
        let protocol = packet::number(wanted.protocol);
        let mut trace = Trace {
            ingress: config.name.clone(),
            protocol,
            packet,
            size,
            steps: Vec::new(),
            egress: None,
            becomes: None,
            drop: None,
            error: None,
        };
        match end {
            Ok((egress, becomes)) => {
                let name = self.name_of(egress);
                steps.add("verdict", format!("forwarded to {name}"), "");
                trace.egress = Some(name);
                trace.becomes = becomes;
            }
            Err(refusal) => {
                let error = refusal.error.map(|error| told(error, protocol));
                let what = error.clone().map_or_else(
                    || "the sender is not told".to_owned(),
                    |error| format!("the sender gets {error}"),
                );
                let reason = format!("{} ({what})", refusal.reason.description());
                steps.add("verdict", format!("dropped: {}", refusal.reason.name()), reason);
                trace.drop = Some(refusal.reason.name().to_owned());
                trace.error = error;
            }
        }
        trace.steps = steps.0;
        Ok(trace)
    }

    fn walk(
        &mut self,
        wanted: &TracePacket,
        config: &PortConfig,
        source: Ipv4Addr,
        now: Instant,
        steps: &mut Steps,
        sent: &mut Option<(ConnTuple, u16)>,
    ) -> End {
        self.ports.get(config.id).ok_or(DropReason::PortDetached)?.check_ingress()?;
        steps.add("port", config.name.clone(), format!("port {} forwards", config.id));
        let next_hop = self.next_hop(config, source, wanted.destination, steps)?;
        let mut frame = packet::build(wanted, config.mac, next_hop, source);
        let mut received = Received::read(&mut frame)?;
        let Body::Ipv4(ip) = received.packet.body else { return Err(DropReason::FrameTooShort.into()) };
        let size = u16::try_from(received.offload.ip_len(&ip)).unwrap_or(u16::MAX);
        *sent = Some((packet::tuple(&ip), size));

        self.slow_path.admit(config, None, &received.packet)?;
        let bound = if config.port_security { "are bound to the port" } else { "are nobody else's" };
        steps.add("admission", "admitted", format!("source {source} and MAC {} {bound}", config.mac));

        let trial = self.begin_trial(&ip);
        let told = self.explain_service(&ip, now);
        let decided = self.slow_path.dispose(&self.ports, config, &frame, &received.packet, now, false);
        self.tell_connection(&ip, &told, &decided, steps);
        let end = decided.and_then(|action| {
            self.tell_route(&action, &received.packet, steps);
            self.try_out(action, config.id, &mut frame, &mut received, now, steps)
        });
        self.end_trial(trial);
        let end = end.map_err(|refusal| self.if_told(config.id, &received.packet, refusal));
        end.map(|egress| (egress, packet::after(&frame)))
    }

    /// Whom the pod's kernel sends the frame to: it asks by ARP for what is in its own network, else for the gateway.
    fn next_hop(
        &self,
        config: &PortConfig,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        steps: &mut Steps,
    ) -> Result<Mac, Refusal> {
        let node = self.slow_path.node.as_ref().ok_or(DropReason::NoRoute)?;
        let is_near = node.pod_cidr.contains(&destination);
        let target_ip = if is_near { destination } else { node.gateway_ip };
        let why = if is_near {
            format!("{destination} is in the pod's network")
        } else {
            format!("{destination} is outside of the pod's network, so the gateway is asked for")
        };
        let arp = Arp { operation: Operation::Request, sender_mac: config.mac, sender_ip: source, target_ip };
        match self.slow_path.answer(config, &arp, false)? {
            Action::AnswerArp { mac, .. } => {
                steps.add("arp", format!("{target_ip} is at {mac}"), why);
                Ok(mac)
            }
            Action::Forward { .. }
            | Action::ForwardError(_)
            | Action::Hold
            | Action::Flood(_)
            | Action::AnswerEcho { .. }
            | Action::Resolve { .. } => {
                let known = self.slow_path.neighbors.lookup(IpAddr::V4(target_ip));
                let neighbor = known.ok_or(DropReason::ArpUnknownTarget)?;
                let who = self.name_of(neighbor.port);
                steps.add(
                    "arp",
                    format!("{target_ip} is at {}", neighbor.mac),
                    format!("{why}; {who} is asked"),
                );
                Ok(neighbor.mac)
            }
        }
    }

    /// Carries the decision out, but for what it would write.
    fn try_out(
        &mut self,
        action: Action,
        ingress: PortId,
        frame: &mut crate::frame::Frame,
        received: &mut Received,
        now: Instant,
        steps: &mut Steps,
    ) -> Result<PortId, Refusal> {
        match action {
            Action::Forward { forward, .. } => {
                let limit = self.limit_of(&forward);
                let kept = self.keep_counts(&forward);
                let result = self.carry_out(action, ingress, frame, received, now, &mut trial::Nowhere);
                self.put_counts_back(kept);
                result?;
                if let Body::Ipv4(ip) = &received.packet.body {
                    let size = received.offload.ip_len(ip);
                    steps.add("mtu", format!("{size} of {limit} bytes"), "largest IP packet on that way");
                }
                Ok(forward.egress)
            }
            Action::AnswerArp { .. } | Action::AnswerEcho { .. } => {
                let kept = self.keep_counts(&Forward::switched(ingress));
                let result = self.carry_out(action, ingress, frame, received, now, &mut trial::Nowhere);
                self.put_counts_back(kept);
                result.map(|_| ingress)
            }
            // Neither an error nor a fragment is ever described.
            Action::ForwardError(_) | Action::Hold => Err(DropReason::NoRoute.into()),
            Action::Resolve { .. } => self.slow_path.uplink.port().ok_or_else(|| DropReason::NoRoute.into()),
            Action::Flood(flood) => {
                let wanted = |port: &&crate::ports::Port| {
                    port.config.id != ingress && flood.scope.includes(&port.config)
                };
                let first = self.ports.iter().find(wanted).map(|port| port.config.id);
                first.ok_or_else(|| flood.nobody.into())
            }
        }
    }

    /// Largest IP packet on the way.
    fn limit_of(&self, forward: &Forward) -> u16 {
        let peer = forward.peer().and_then(|id| self.slow_path.overlay.peers.get(id));
        let port = self.ports.get(forward.egress);
        peer.map(crate::overlay::peers::Peer::ip_mtu)
            .or_else(|| port.map(|port| port.config.ip_mtu))
            .unwrap_or_default()
    }

    /// Whether the sender would be told now: not about errors, groups and fragments, nor more often than its port may be.
    fn if_told(&self, port: PortId, packet: &Packet, refusal: Refusal) -> Refusal {
        let may = match &packet.body {
            Body::Ipv4(ip) => icmp::may_report(packet, ip),
            Body::Arp(_) => false,
        };
        let is_there = self.ports.get(port).is_some() && self.slow_path.node.is_some();
        if may && is_there { refusal } else { refusal.reason.into() }
    }

    fn name_of(&self, port: PortId) -> String {
        self.ports.get(port).map_or_else(|| format!("port {port}"), |port| port.config.name.clone())
    }
}

/// What a sender hears.
fn told(error: IcmpError, protocol: u8) -> String {
    match error {
        IcmpError::PortUnreachable if protocol == packet::TCP => {
            "a TCP reset (connection refused)".to_owned()
        }
        IcmpError::PortUnreachable => "ICMP port unreachable (connection refused)".to_owned(),
        IcmpError::NetUnreachable => "ICMP net unreachable".to_owned(),
        IcmpError::HostUnreachable => "ICMP host unreachable".to_owned(),
        IcmpError::FragmentationNeeded { next_hop_mtu } => {
            format!("ICMP fragmentation needed, MTU {next_hop_mtu}")
        }
        IcmpError::AdminProhibited => "ICMP administratively prohibited".to_owned(),
        IcmpError::TimeExceeded => "ICMP time exceeded".to_owned(),
    }
}
