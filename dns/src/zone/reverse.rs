//! Names of addresses: `4.3.2.1.in-addr.arpa` (RFC 1035 §3.5) and nibbles under `ip6.arpa` (RFC 3596 §2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::wire::name::QueryName;

/// What a name under `in-addr.arpa` or `ip6.arpa` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reversed {
    /// One address.
    Address(IpAddr),
    /// All that begin so.
    Beginning,
    /// Nothing.
    Nothing,
}

/// Digits of an address from its beginning, as far as the name has them.
struct Digits {
    /// The address, zeroes where the name has none.
    address: IpAddr,
    /// Bits the name has.
    bits: usize,
    /// Labels before the first good one, which can belong to nothing.
    strange: usize,
    /// Bits per label.
    step: usize,
    /// Labels of all digits and the rest.
    labels: usize,
}

/// What the name stands for; `None` for names of other kinds.
pub(super) fn read(name: &QueryName) -> Option<Reversed> {
    let digits = digits(name)?;
    let whole = if digits.address.is_ipv4() { 32 } else { 128 };
    Some(match (digits.strange, digits.bits == whole) {
        (1.., _) => Reversed::Nothing,
        (0, true) => Reversed::Address(digits.address),
        (0, false) => Reversed::Beginning,
    })
}

/// If the name is in the reverse zone of one of `nets`: how many of its labels are before the zone's. A net that ends inside of
/// a label has a zone for each value of it, as CoreDNS cuts them.
pub(super) fn apex(name: &QueryName, nets: &[IpNet]) -> Option<usize> {
    let digits = digits(name)?;
    nets.iter().find_map(|net| {
        let needed = usize::from(net.prefix_len()).next_multiple_of(digits.step);
        (net.contains(&digits.address) && digits.bits >= needed)
            .then(|| digits.labels - needed / digits.step - 2)
    })
}

fn digits(name: &QueryName) -> Option<Digits> {
    let labels = name.labels();
    let arpa = labels.checked_sub(2)?;
    if name.label(arpa + 1) != b"arpa" {
        return None;
    }
    let (step, whole) = match name.label(arpa) {
        b"in-addr" => (8, 32),
        b"ip6" => (4, 128),
        _ => return None,
    };
    let mut value = 0_u128;
    let mut bits = 0;
    while bits < whole {
        let Some(at) = arpa.checked_sub(bits / step + 1) else { break };
        let Some(digit) = digit(name.label(at), step) else { break };
        value |= u128::from(digit) << (whole - step - bits);
        bits += step;
    }
    let address = if step == 8 {
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(value).ok()?))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(value))
    };
    Some(Digits { address, bits, strange: arpa - bits / step, step, labels })
}

/// A label's value: a decimal byte without needless zeroes, or one nibble.
fn digit(label: &[u8], step: usize) -> Option<u8> {
    let text = std::str::from_utf8(label).ok()?;
    if step == 4 {
        return match label {
            [digit] if digit.is_ascii_hexdigit() => u8::from_str_radix(text, 16).ok(),
            _ => None,
        };
    }
    let plain = label.iter().all(u8::is_ascii_digit) && (label.len() == 1 || label.first() != Some(&b'0'));
    if plain { text.parse().ok() } else { None }
}
