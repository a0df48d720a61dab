//! The program against its description, by a machine of a few lines. What the kernel makes of it is in `tests/packet_socket.rs`.

use proptest::prelude::*;

use super::*;

/// A frame, and what the kernel says about it.
#[derive(Debug, Clone)]
struct Seen {
    packet_type: u32,
    tagged: bool,
    bytes: Vec<u8>,
}

/// Runs `program` as `bpf_filter(9)` says; counts steps.
fn run(program: &[Instruction], seen: &Seen) -> u32 {
    let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
    let byte = |offset: u32| seen.bytes.get(usize::try_from(offset).unwrap()).copied().map(u32::from);
    let word = |offset: u32, size: u32| (0..size).try_fold(0, |sum, n| Some(sum << 8 | byte(offset + n)?));
    for _ in 0..program.len() {
        let Instruction { code, if_true, if_false, operand } = program[at];
        at += 1;
        let size = match code & 0x18 {
            libc::BPF_W => 4,
            libc::BPF_H => 2,
            _ => 1,
        };
        match (code & 7, code & 0xe0) {
            (libc::BPF_LD, libc::BPF_ABS) if operand >= libc::SKF_AD_OFF.cast_unsigned() => {
                a = match operand.wrapping_sub(libc::SKF_AD_OFF.cast_unsigned()).cast_signed() {
                    libc::SKF_AD_PKTTYPE => seen.packet_type,
                    libc::SKF_AD_VLAN_TAG_PRESENT => u32::from(seen.tagged),
                    other => panic!("field {other}"),
                };
            }
            (libc::BPF_LD, mode) => {
                let offset = if mode == libc::BPF_IND { x + operand } else { operand };
                let Some(value) = word(offset, size) else { return 0 };
                a = value;
            }
            (libc::BPF_LDX, libc::BPF_MSH) => {
                let Some(value) = byte(operand) else { return 0 };
                x = 4 * (value & 0xf);
            }
            (libc::BPF_RET, _) => return operand,
            (libc::BPF_JMP, _) => {
                let holds = match code & 0xf0 {
                    libc::BPF_JA => {
                        at += usize::try_from(operand).unwrap();
                        continue;
                    }
                    libc::BPF_JEQ => a == operand,
                    libc::BPF_JGT => a > operand,
                    libc::BPF_JGE => a >= operand,
                    libc::BPF_JSET => a & operand != 0,
                    other => panic!("comparison {other}"),
                };
                at += usize::from(if holds { if_true } else { if_false });
            }
            other => panic!("instruction {other:?}"),
        }
    }
    panic!("the program does not end");
}

/// What the module says, without any cleverness.
fn expected(filter: &PacketFilter, seen: &Seen) -> bool {
    let half = |at: usize| seen.bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    if seen.tagged || seen.packet_type > 2 {
        return false;
    }
    match half(12) {
        Some(0x0806) => return true,
        Some(0x0800) if seen.packet_type == 0 => {}
        _ => return false,
    }
    let Some(destination) = seen.bytes.get(30..34) else { return false };
    let destination = Ipv4Addr::from(<[u8; 4]>::try_from(destination).unwrap());
    if filter.whole.iter().any(|net| net.contains(&destination)) {
        return true;
    }
    if !filter.shared.contains(&destination) {
        return false;
    }
    if half(20).unwrap() & 0x1fff != 0 {
        return true;
    }
    let l4 = 14 + 4 * usize::from(seen.bytes[14] & 0xf);
    match seen.bytes[23] {
        1 => seen.bytes.get(l4).is_some_and(|kind| [0, 3, 11, 12].contains(kind)),
        6 | 17 | 132 => {
            half(l4 + 2).is_some_and(|port| filter.ports.iter().any(|range| range.contains(&port)))
        }
        _ => false,
    }
}

/// Few values, so that filters and frames meet.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        (0..48u32).prop_map(Ipv4Addr::from_bits),
        (0..48u32).prop_map(|low| Ipv4Addr::from_bits(u32::MAX - low)),
        (0..4u32, 0..16u32).prop_map(|(high, low)| Ipv4Addr::from_bits(0xc0a8_0000 | high << 8 | low)),
    ]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![0..20u16, 65_530..=u16::MAX, 30_000..30_010u16]
}

fn filter() -> impl Strategy<Value = PacketFilter> {
    let net = (address(), 24..=32u8).prop_map(|(address, len)| Ipv4Net::new(address, len).unwrap());
    let ports = (port(), port()).prop_map(|(a, b)| a.min(b)..=a.max(b));
    (
        proptest::collection::vec(net, 0..24),
        proptest::collection::vec(address(), 0..24),
        proptest::collection::vec(ports, 0..4),
    )
        .prop_map(|(whole, shared, ports)| PacketFilter { whole, shared, ports })
}

fn seen() -> impl Strategy<Value = Seen> {
    let ethertype = prop_oneof![8 => Just(0x0800u16), 1 => Just(0x0806), 1 => Just(0x86dd)];
    let protocol = prop_oneof![Just(1u8), Just(6), Just(17), Just(132), Just(47)];
    let fragment = prop_oneof![6 => Just(0u16), 1 => Just(0x2000), 1 => Just(0x4000), 1 => 0..=u16::MAX];
    let kind = prop_oneof![6 => Just(0u32), 1 => 0..=4u32];
    (kind, any::<bool>(), ethertype, address(), protocol, fragment, (5..=15u8, port(), 0..16u8), 20..80usize)
        .prop_map(|(packet_type, rarely, ethertype, to, protocol, fragment, (words, port, icmp), len)| {
            let mut bytes = vec![0; 80];
            bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
            bytes[14] = 0x40 | words;
            bytes[20..22].copy_from_slice(&fragment.to_be_bytes());
            bytes[23] = protocol;
            bytes[30..34].copy_from_slice(&to.octets());
            let l4 = 14 + 4 * usize::from(words);
            bytes[l4] = icmp;
            bytes[l4 + 2..l4 + 4].copy_from_slice(&port.to_be_bytes());
            // Short frames too.
            if rarely && len % 3 == 0 {
                bytes.truncate(len);
            }
            Seen { packet_type, tagged: rarely && len % 5 == 0, bytes }
        })
}

proptest! {
    #[test]
    fn the_program_passes_what_the_filter_says(filter in filter(), seen in proptest::collection::vec(seen(), 1..32)) {
        let program = filter.compile();
        for seen in &seen {
            prop_assert_eq!(run(&program, seen) == PASS, expected(&filter, seen), "{:?}", seen);
        }
    }

    #[test]
    fn a_union_passes_what_either_passes(a in filter(), b in filter(), seen in proptest::collection::vec(seen(), 1..32)) {
        let both = a.union(&b);
        let program = both.compile();
        for seen in &seen {
            let either = expected(&a, seen) || expected(&b, seen);
            prop_assert!(run(&program, seen) == PASS || !either, "{:?}", seen);
        }
        prop_assert_eq!(both.union(&a), both.clone());
    }
}

#[test]
fn the_largest_program_is_one_the_kernel_takes() {
    let addresses = |count: u32| (0..count).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + 2 * n)).collect();
    let ports = (0..16u16).map(|n| 100 * n..=100 * n + 50).collect();
    let filter = PacketFilter { whole: Vec::new(), shared: addresses(512), ports };
    let program = filter.compile();
    assert!(program.len() <= 4096, "{} instructions", program.len());
    let more = PacketFilter { shared: addresses(513), ..filter };
    assert!(more.compile().len() < 100, "all packets for the node's MAC pass");
}
