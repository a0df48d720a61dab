//! Faults by seed.

use netdev::fault::{FaultCounts, FaultInjector, FaultRates, RATE_SCALE};
use netdev::{Device, Loopback, Sent, VNET_HDR_LEN};
use protocol::Offloads;

const FRAMES: u32 = 5_000;
const ALWAYS: u32 = RATE_SCALE;

fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0; VNET_HDR_LEN + 60];
    frame[VNET_HDR_LEN..][..4].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[VNET_HDR_LEN..][..4].try_into().expect("four bytes"))
}

fn drain(device: &mut impl Device) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buf = [0; 200];
    while let Some(len) = device.recv(&mut buf).expect("recv") {
        frames.push(buf[..len].to_vec());
    }
    frames
}

/// What arrives of `count` frames sent through a line with `rates`.
fn send_through(seed: u64, rates: FaultRates, count: u32) -> (Vec<Vec<u8>>, FaultCounts) {
    let (near, mut far) = Loopback::pair(100_000, Offloads::NONE);
    let mut device = FaultInjector::new(near, seed, FaultRates::default(), rates);
    for number in 0..count {
        assert_eq!(device.send(&frame(number)).expect("send"), Sent::Sent);
    }
    device.flush().expect("flush");
    (drain(&mut far), device.send_counts())
}

fn numbers(frames: &[Vec<u8>]) -> Vec<u32> {
    frames.iter().map(|frame| number(frame)).collect()
}

#[test]
fn without_faults_everything_passes_unchanged() {
    let (frames, counts) = send_through(1, FaultRates::default(), FRAMES);
    assert_eq!(numbers(&frames), (0..FRAMES).collect::<Vec<_>>());
    assert_eq!(counts, FaultCounts { frames: u64::from(FRAMES), ..FaultCounts::default() });
}

#[test]
fn same_seed_makes_the_same_faults_and_another_makes_others() {
    let rates = FaultRates {
        drop: 1000,
        corrupt: 1000,
        duplicate: 1000,
        reorder: 1000,
        delay: 1000,
        delay_frames: 7,
    };
    let first = send_through(42, rates, FRAMES);
    assert_eq!(send_through(42, rates, FRAMES), first);
    assert_ne!(send_through(43, rates, FRAMES).0, first.0);
}

#[test]
fn rates_are_kept_and_every_frame_is_accounted_for() {
    let rates =
        FaultRates { drop: 500, corrupt: 500, duplicate: 500, reorder: 500, delay: 500, delay_frames: 5 };
    let (frames, counts) = send_through(7, rates, FRAMES);
    let expected = u64::from(FRAMES) - counts.dropped + counts.duplicated;
    assert_eq!(u64::try_from(frames.len()).expect("small"), expected);
    for (what, count) in [
        ("dropped", counts.dropped),
        ("corrupted", counts.corrupted),
        ("duplicated", counts.duplicated),
        ("reordered", counts.reordered),
        ("delayed", counts.delayed),
    ] {
        // 5 % of 5,000 is 250 with a standard deviation of 15; several exclude each other.
        assert!((180..=310).contains(&count), "{what}: {count}");
    }
}

#[test]
fn corruption_flips_one_bit_behind_the_header() {
    let rates = FaultRates { corrupt: ALWAYS, ..FaultRates::default() };
    let (frames, counts) = send_through(3, rates, 200);
    assert_eq!(counts.corrupted, 200);
    for (sent, received) in (0..200).map(frame).zip(&frames) {
        assert_eq!(received[..VNET_HDR_LEN], sent[..VNET_HDR_LEN]);
        let flipped: u32 = sent.iter().zip(received).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(flipped, 1);
    }
}

#[test]
fn reordered_frame_is_overtaken_by_the_next_one() {
    let rates = FaultRates { reorder: 3000, ..FaultRates::default() };
    let (frames, counts) = send_through(5, rates, 1000);
    let mut sorted = numbers(&frames);
    assert!(!sorted.is_sorted());
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>(), "nothing lost, nothing twice");
    assert!(counts.reordered > 200);
    // Held back behind one frame, or behind a run of frames that were themselves held back.
    for (position, number) in numbers(&frames).into_iter().enumerate() {
        assert!(usize::try_from(number).expect("small").abs_diff(position) <= 16);
    }
}

#[test]
fn delayed_frame_is_overtaken_by_as_many_as_said() {
    let rates = FaultRates { delay: 1, delay_frames: 4, ..FaultRates::default() };
    // The first seed that delays exactly one frame in the middle.
    let (frames, _) = (0..20_000)
        .map(|seed| send_through(seed, rates, 20))
        .find(|(frames, counts)| {
            counts.delayed == 1 && number(&frames[19]) == 19 && !numbers(frames).is_sorted()
        })
        .expect("some seed does");
    let order = numbers(&frames);
    let delayed = order.windows(2).find(|pair| pair[1] < pair[0]).expect("one is late")[1];
    let position = order.iter().position(|number| *number == delayed).expect("present");
    assert_eq!(position, usize::try_from(delayed).expect("small") + 4);
}

#[test]
fn receiving_side_has_its_own_faults_and_keeps_nothing_back() {
    let (near, mut far) = Loopback::pair(100_000, Offloads::NONE);
    let rates = FaultRates { drop: 1000, delay: 2000, delay_frames: 50, ..FaultRates::default() };
    let mut device = FaultInjector::new(near, 11, rates, FaultRates::default());
    for number in 0..1000 {
        far.send(&frame(number)).expect("send");
    }
    let received = drain(&mut device);
    let counts = device.receive_counts();
    assert!(counts.dropped > 50 && counts.delayed > 100, "{counts:?}");
    assert_eq!(u64::try_from(received.len()).expect("small"), 1000 - counts.dropped);
    assert_eq!(device.send_counts(), FaultCounts::default());
}

#[test]
fn full_device_is_passed_on_and_loses_nothing() {
    let (near, mut far) = Loopback::pair(2, Offloads::NONE);
    let rates = FaultRates { duplicate: ALWAYS, ..FaultRates::default() };
    let mut device = FaultInjector::new(near, 1, FaultRates::default(), rates);
    assert_eq!(device.send(&frame(0)).expect("send"), Sent::Sent);
    assert_eq!(device.send(&frame(1)).expect("taken, and waits inside"), Sent::Sent);
    assert_eq!(device.send(&frame(2)).expect("send"), Sent::Full);
    assert_eq!(numbers(&drain(&mut far)), [0, 0]);
    device.flush().expect("flush");
    assert_eq!(numbers(&drain(&mut far)), [1, 1]);
}
