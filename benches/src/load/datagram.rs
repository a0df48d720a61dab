//! A datagram that shows whether it is the one that was sent: numbered, and checked to the last
//! byte.
//!
//! ```text
//! 0        8          16      24
//! | run    | sequence | check | pattern … |
//! ```
//!
//! `check` mixes the two before it, so a change in any of the three shows; the pattern is the same
//! in every datagram, so it costs one comparison.

/// The three numbers.
pub(crate) const MIN_SIZE: usize = 24;

/// Writes and reads datagrams of one size and run.
pub(super) struct Format {
    run: u64,
    pattern: Vec<u8>,
}

/// What a received datagram is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Sent in this run, with this number.
    Ours(u64),
    /// A late one of an earlier run.
    Stray,
    /// Not what was sent.
    Damaged,
}

impl Format {
    /// For datagrams of `size` bytes, at least [`MIN_SIZE`].
    pub(super) fn new(run: u64, size: usize) -> Self {
        let word = |i: usize| mix(i as u64, 0x5eed).to_le_bytes();
        let pattern = (0..size.saturating_sub(MIN_SIZE)).map(|i| word(i / 8)[i % 8]).collect();
        Self { run, pattern }
    }

    pub(super) fn size(&self) -> usize {
        MIN_SIZE + self.pattern.len()
    }

    /// Fills a buffer of [`Self::size`] with all but the number.
    pub(super) fn prepare(&self, buffer: &mut [u8]) {
        buffer[MIN_SIZE..].copy_from_slice(&self.pattern);
    }

    /// Numbers a prepared buffer.
    pub(super) fn stamp(&self, buffer: &mut [u8], sequence: u64) {
        buffer[..8].copy_from_slice(&self.run.to_le_bytes());
        buffer[8..16].copy_from_slice(&sequence.to_le_bytes());
        buffer[16..24].copy_from_slice(&mix(self.run, sequence).to_le_bytes());
    }

    pub(super) fn read(&self, datagram: &[u8]) -> Read {
        let (Some(run), Some(sequence), Some(check)) =
            (word(datagram, 0), word(datagram, 1), word(datagram, 2))
        else {
            return Read::Damaged;
        };
        if check != mix(run, sequence) {
            return Read::Damaged;
        }
        // Another run may have had another size.
        if run != self.run {
            return Read::Stray;
        }
        if datagram[MIN_SIZE..] == self.pattern { Read::Ours(sequence) } else { Read::Damaged }
    }
}

fn word(datagram: &[u8], index: usize) -> Option<u64> {
    let bytes = datagram.get(index * 8..index * 8 + 8)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Every bit of the result depends on every bit of both (finalizer of splitmix64).
const fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.rotate_left(32) ^ b.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Numbers that were seen, to tell lost ones from doubled ones.
#[derive(Default)]
pub(super) struct Seen {
    bits: Vec<u64>,
    pub(super) distinct: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
    highest: Option<u64>,
}

/// More than any run sends; bounds the memory a damaged number could ask for (32 MiB).
const MAX_SEQUENCE: u64 = 1 << 28;

impl Seen {
    /// `false` for a number that no run uses.
    pub(super) fn note(&mut self, sequence: u64) -> bool {
        let Some(index) = usize::try_from(sequence / 64).ok().filter(|_| sequence < MAX_SEQUENCE) else {
            return false;
        };
        if index >= self.bits.len() {
            self.bits.resize((index + 1).next_power_of_two(), 0);
        }
        let bit = 1 << (sequence % 64);
        if self.bits[index] & bit != 0 {
            self.duplicates += 1;
            return true;
        }
        self.bits[index] |= bit;
        self.distinct += 1;
        self.late += u64::from(self.highest.is_some_and(|h| sequence < h));
        self.highest = self.highest.max(Some(sequence));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(format: &Format, sequence: u64) -> Vec<u8> {
        let mut buffer = vec![0; format.size()];
        format.prepare(&mut buffer);
        format.stamp(&mut buffer, sequence);
        buffer
    }

    #[test]
    fn every_flipped_bit_shows() {
        let format = Format::new(7, 64);
        let buffer = sample(&format, 12);
        assert_eq!(format.read(&buffer), Read::Ours(12));
        for bit in 0..buffer.len() * 8 {
            let mut damaged = buffer.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(format.read(&damaged), Read::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_shows() {
        let format = Format::new(7, 64);
        let buffer = sample(&format, 12);
        for len in 0..buffer.len() {
            assert_eq!(format.read(&buffer[..len]), Read::Damaged, "{len} bytes");
        }
    }

    #[test]
    fn another_run_is_a_stray_whatever_its_size() {
        let format = Format::new(7, 64);
        assert_eq!(format.read(&sample(&Format::new(6, 1400), 3)), Read::Stray);
    }

    #[test]
    fn lost_doubled_and_late_ones_are_told_apart() {
        let mut seen = Seen::default();
        for sequence in [0, 1, 4, 3, 4, 200] {
            assert!(seen.note(sequence));
        }
        assert_eq!((seen.distinct, seen.duplicates, seen.late), (5, 1, 1));
        assert!(!seen.note(u64::MAX));
    }
}
