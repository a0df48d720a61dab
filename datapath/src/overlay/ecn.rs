//! Congestion marks across the tunnel (RFC 6040). Encapsulation in normal mode (§4.1) copies the inner
//! field, so the outer type of service is the inner one's; here is what a decapsulator makes of both
//! (§4.2, figure 4).

use crate::verdict::{DropReason, Verdict};
use crate::wire::checksum;
use crate::wire::ipv4::Ipv4Header;

const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The ECN field of the packet that goes on; refused where a router said "congestion" to a sender that
/// cannot be told but by a loss.
pub(crate) const fn decapsulate(inner_tos: u8, outer_tos: u8) -> Verdict<u8> {
    Ok(match (inner_tos & MASK, outer_tos & MASK) {
        (NOT_ECT, CE) => return Err(DropReason::EcnNotEctCe),
        (NOT_ECT, _) => NOT_ECT,
        (_, CE) => CE,
        // The one change a lower layer may make besides: a mark less severe than CE.
        (ECT_0, ECT_1) => ECT_1,
        (inner, _) => inner,
    })
}

/// Marks the packet in an Ethernet frame by what the outer header said.
pub(crate) fn apply(frame: &mut [u8], outer_tos: u8) -> Verdict {
    let Some(header) = Ipv4Header::in_frame(frame) else { return Ok(()) };
    let ecn = decapsulate(header.tos, outer_tos)?;
    if header.tos & MASK != ecn {
        let old = u16::from_be_bytes([header.version_and_len, header.tos]);
        header.tos = header.tos & !MASK | ecn;
        let new = u16::from_be_bytes([header.version_and_len, header.tos]);
        header.checksum = checksum::update(header.checksum.get(), old, new).into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_rfcs_figure() {
        let drop = Err(DropReason::EcnNotEctCe);
        // Rows: inner; columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let figure = [
            (NOT_ECT, [Ok(NOT_ECT), Ok(NOT_ECT), Ok(NOT_ECT), drop]),
            (ECT_0, [Ok(ECT_0), Ok(ECT_0), Ok(ECT_1), Ok(CE)]),
            (ECT_1, [Ok(ECT_1), Ok(ECT_1), Ok(ECT_1), Ok(CE)]),
            (CE, [Ok(CE), Ok(CE), Ok(CE), Ok(CE)]),
        ];
        for (inner, row) in figure {
            for (outer, wanted) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                // Whatever the DSCP beside it.
                assert_eq!(decapsulate(inner | 0xb8, outer | 0x28), wanted, "inner {inner}, outer {outer}");
            }
        }
    }
}
