//! Whatever a peer, or somebody with a peer's address, sends: no panic, and every packet counted once.
//! The harness checks the conservation law after each call.

use crate::common::*;
use proptest::prelude::*;

fn seeds() -> Vec<Vec<u8>> {
    let mut keep_alive = ethernet_header(router_mac(), router_b(), 0x88b5);
    keep_alive.extend_from_slice(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let frames = [
        udp(from_peer(C_IP, A_IP), 1, 2, &[9; 40]),
        tcp(from_peer(C_IP, A_IP), 1, 2, &[9; 40]),
        echo_request(from_peer(C_IP, GATEWAY_IP), 1, b"ping"),
        ArpFrame::request(router_b(), GATEWAY_B_IP, A_IP).bytes(),
        keep_alive,
    ];
    frames.iter().map(|frame| vxlan(VNI, frame)).collect()
}

#[test]
fn every_truncation_is_counted_once() {
    let mut h = harness_a();
    let mut sent = 0;
    for seed in seeds() {
        for len in 1..=seed.len() {
            h.receive(TUNNEL, NODE_B_IP, 0, &[seed[..len].to_vec()]);
            sent += 1;
            assert_eq!(h.switch.port_counters(TUNNEL).unwrap().rx_frames, sent);
        }
    }
}

#[test]
fn every_single_bit_flip_is_counted_once() {
    let mut h = harness_a();
    let mut sent = 0;
    for seed in seeds() {
        for bit in 0..seed.len() * 8 {
            let mut flipped = seed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Between two intact ones, so that merging meets it.
            h.receive(TUNNEL, NODE_B_IP, 0, &[seed.clone(), flipped, seed.clone()]);
            sent += 3;
            assert_eq!(h.switch.port_counters(TUNNEL).unwrap().rx_frames, sent);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_survived_in_trains_of_any_cut(
        noise in proptest::collection::vec(any::<u8>(), 1..3000),
        size in 1..200usize,
        tos in any::<u8>(),
        known in any::<bool>(),
    ) {
        let mut h = harness_a();
        let mut noise = noise;
        for piece in noise.chunks_mut(size) {
            let header = vxlan(VNI, &ethernet_header(router_mac(), router_b(), 0x0800));
            let len = piece.len().min(header.len());
            piece[..len].copy_from_slice(&header[..len]);
        }
        let pieces: Vec<_> = noise.chunks(size).map(<[u8]>::to_vec).collect();
        h.receive(TUNNEL, if known { NODE_B_IP } else { [9, 9, 9, 9] }, tos, &pieces);
        prop_assert_eq!(h.switch.port_counters(TUNNEL).unwrap().rx_frames, pieces.len() as u64);
    }
}
