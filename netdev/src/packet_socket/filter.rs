//! Which frames the kernel copies to the uplink's socket: a classic BPF program, compiled from ranges.
//!
//! How it works: the switch shares an interface with the node's own stack, and most of what arrives there is the node's. The
//! program passes a superset of what may be the switch's, so it changes with configuration, not with connections: whatever is
//! for an address in [`PacketFilter::whole`], and what is for one in [`PacketFilter::shared`] and could belong to one of
//! [`PacketFilter::ports`]. Both are one sorted list, searched by halves; a conditional jump of this machine
//! reaches 255 instructions, so long ways go by unconditional ones.
//!
//! What the socket itself sends is never shown to it, nor are VLAN-tagged frames, whose tag the kernel keeps beside the frame,
//! nor unicast frames for other stations, which a promiscuous interface hears.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

/// Ranges of addresses that are searched; with more, all packets for the node's MAC pass.
///
/// A program has 4096 instructions at most (`BPF_MAXINSNS`); a range takes four, and halving two for each four ranges.
const MAX_RANGES: usize = 512;
/// Ranges that are tried one after the other.
const LEAF_RANGES: usize = 4;
/// Ranges of ports that are tried; with more, all ports pass.
const MAX_PORT_RANGES: usize = 16;

// Offsets from the start of the frame (IEEE 802.3, RFC 791 §3.1).
const ETHERTYPE: u32 = 12;
const IPV4: u32 = 14;
const FRAGMENT: u32 = IPV4 + 6;
const PROTOCOL: u32 = IPV4 + 9;
const DESTINATION: u32 = IPV4 + 16;
/// Of TCP, UDP and SCTP, behind the end of the IPv4 header.
const DESTINATION_PORT: u32 = IPV4 + 2;

const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV4: u32 = 0x0800;
/// Bits of the fragment's offset.
const FRAGMENT_OFFSET: u32 = 0x1fff;
const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
const SCTP: u32 = 132;
/// Echo reply, destination unreachable, time exceeded, parameter problem (RFC 792).
const ICMP_TYPES: [u32; 4] = [0, 3, 11, 12];

/// How a packet socket classifies frames (`linux/if_packet.h`): for us; more than this is another station's, or ours.
const PACKET_HOST: u32 = 0;
const PACKET_MULTICAST: u32 = 2;

/// Return values: keep the whole frame, or nothing of it.
const PASS: u32 = u32::MAX;
const SKIP: u32 = 0;
/// Where a jump to the check of ports will lead, while its place is not known.
const TO_PORTS: u32 = u32::MAX;

/// What the kernel copies to the socket. The default is nothing but ARP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PacketFilter {
    /// Addresses that are the switch's.
    pub whole: Vec<Ipv4Net>,
    /// Addresses that it shares with the node's stack.
    pub shared: Vec<Ipv4Addr>,
    /// Its ports at the shared ones.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// One instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u32,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

/// What is done with a packet for an address of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Pass,
    Ports,
}

/// First and last address, and what to do.
type Range = (u32, u32, Action);

impl PacketFilter {
    /// What either of them passes.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let joined = |a: &[_], b: &[_]| {
            let mut all = [a, b].concat();
            all.sort_unstable();
            all.dedup();
            all
        };
        let mut ports = self.ports.clone();
        ports.extend(other.ports.iter().filter(|range| !self.ports.contains(range)).cloned());
        let mut whole = [self.whole.as_slice(), other.whole.as_slice()].concat();
        whole.sort_unstable();
        whole.dedup();
        Self { whole, shared: joined(&self.shared, &other.shared), ports }
    }

    pub(super) fn compile(&self) -> Vec<Instruction> {
        let mut program = preamble();
        program.push(load(libc::BPF_W, DESTINATION));
        search(&self.ranges(), &mut program);
        let ports_at = program.len();
        for (at, instruction) in program.iter_mut().enumerate() {
            if *instruction == jump(TO_PORTS) {
                *instruction = jump(distance(at + 1, ports_at));
            }
        }
        self.check_ports(&mut program);
        program
    }

    /// Sorted, disjoint.
    fn ranges(&self) -> Vec<Range> {
        let mut whole: Vec<(u32, u32)> =
            self.whole.iter().map(|net| (net.network().to_bits(), net.broadcast().to_bits())).collect();
        whole.sort_unstable();
        let mut ranges: Vec<Range> = Vec::new();
        for (first, last) in whole {
            match ranges.last_mut() {
                Some((_, end, _)) if first <= end.saturating_add(1) => *end = last.max(*end),
                Some(_) | None => ranges.push((first, last, Action::Pass)),
            }
        }
        let mut shared: Vec<u32> = self.shared.iter().map(|address| address.to_bits()).collect();
        shared.sort_unstable();
        shared.dedup();
        shared.retain(|address| !ranges.iter().any(|(first, last, _)| (first..=last).contains(&address)));
        ranges.extend(shared.into_iter().map(|address| (address, address, Action::Ports)));
        ranges.sort_unstable_by_key(|(first, ..)| *first);
        if ranges.len() > MAX_RANGES {
            return vec![(0, u32::MAX, Action::Pass)];
        }
        ranges
    }

    /// For a packet to an address that is shared.
    fn check_ports(&self, program: &mut Vec<Instruction>) {
        let [echo_reply, unreachable, exceeded, problem] = ICMP_TYPES;
        program.extend([
            // A later fragment has no ports; the switch knows whose its first one was.
            load(libc::BPF_H, FRAGMENT),
            test(libc::BPF_JSET, FRAGMENT_OFFSET, 0, 1),
            give(PASS),
            // X becomes the length of the IPv4 header.
            instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, IPV4),
            load(libc::BPF_B, PROTOCOL),
            test(libc::BPF_JEQ, ICMP, 0, 7),
            load_behind_x(libc::BPF_B, IPV4),
            test(libc::BPF_JEQ, echo_reply, 3, 0),
            test(libc::BPF_JEQ, unreachable, 2, 0),
            test(libc::BPF_JEQ, exceeded, 1, 0),
            test(libc::BPF_JEQ, problem, 0, 1),
            give(PASS),
            give(SKIP),
            test(libc::BPF_JEQ, TCP, 3, 0),
            test(libc::BPF_JEQ, UDP, 2, 0),
            test(libc::BPF_JEQ, SCTP, 1, 0),
            give(SKIP),
            load_behind_x(libc::BPF_H, DESTINATION_PORT),
        ]);
        if self.ports.len() > MAX_PORT_RANGES {
            program.push(give(PASS));
            return;
        }
        for range in &self.ports {
            program.extend([
                test(libc::BPF_JGE, (*range.start()).into(), 0, 2),
                test(libc::BPF_JGT, (*range.end()).into(), 1, 0),
                give(PASS),
            ]);
        }
        program.push(give(SKIP));
    }
}

/// Leaves frames that may be IPv4 packets for us; ARP has passed, the rest is skipped.
fn preamble() -> Vec<Instruction> {
    vec![
        ancillary(libc::SKF_AD_PKTTYPE),
        test(libc::BPF_JGT, PACKET_MULTICAST, 0, 1),
        give(SKIP),
        ancillary(libc::SKF_AD_VLAN_TAG_PRESENT),
        test(libc::BPF_JEQ, 0, 1, 0),
        give(SKIP),
        load(libc::BPF_H, ETHERTYPE),
        test(libc::BPF_JEQ, ETHERTYPE_ARP, 0, 1),
        give(PASS),
        test(libc::BPF_JEQ, ETHERTYPE_IPV4, 1, 0),
        give(SKIP),
        ancillary(libc::SKF_AD_PKTTYPE),
        test(libc::BPF_JEQ, PACKET_HOST, 1, 0),
        give(SKIP),
    ]
}

/// Finds the range that holds the accumulator. Every way ends in a return, or in a jump to the ports.
fn search(ranges: &[Range], program: &mut Vec<Instruction>) {
    if ranges.len() > LEAF_RANGES {
        let (left, right) = ranges.split_at(ranges.len() / 2);
        let Some((pivot, ..)) = right.first() else { return };
        let mut lower = Vec::new();
        search(left, &mut lower);
        program.extend([test(libc::BPF_JGE, *pivot, 0, 1), jump(distance(0, lower.len()))]);
        program.append(&mut lower);
        search(right, program);
        return;
    }
    for (first, last, action) in ranges {
        program.extend([
            // They are sorted: what is below this one is in none that follows.
            test(libc::BPF_JGE, *first, 1, 0),
            give(SKIP),
            test(libc::BPF_JGT, *last, 1, 0),
            match action {
                Action::Pass => give(PASS),
                Action::Ports => jump(TO_PORTS),
            },
        ]);
    }
    program.push(give(SKIP));
}

const fn instruction(code: u32, operand: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, operand }
}

/// Into the accumulator, from a fixed place of the frame. A frame that is too short ends the program with [`SKIP`].
const fn load(size: u32, offset: u32) -> Instruction {
    instruction(libc::BPF_LD | size | libc::BPF_ABS, offset)
}

/// From a place relative to the end of the IPv4 header.
const fn load_behind_x(size: u32, offset: u32) -> Instruction {
    instruction(libc::BPF_LD | size | libc::BPF_IND, offset)
}

/// What the kernel knows about the frame, in the byte-sized fields of `linux/filter.h`.
const fn ancillary(field: i32) -> Instruction {
    load(libc::BPF_B, (libc::SKF_AD_OFF + field).cast_unsigned())
}

/// Skips so many instructions where the accumulator compares so, and so many where it does not.
const fn test(comparison: u32, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code: libc::BPF_JMP | comparison | libc::BPF_K, if_true, if_false, operand }
}

const fn jump(distance: u32) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JA, distance)
}

const fn give(result: u32) -> Instruction {
    instruction(libc::BPF_RET | libc::BPF_K, result)
}

fn distance(from: usize, to: usize) -> u32 {
    u32::try_from(to.saturating_sub(from)).unwrap_or(TO_PORTS - 1)
}

#[cfg(test)]
mod tests;
