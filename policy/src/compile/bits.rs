//! A set of small numbers, a bit each: what a selector matches is asked far more often than it changes.

const WORD: u32 = u64::BITS;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.get((number / WORD) as usize).is_some_and(|word| word >> (number % WORD) & 1 == 1)
    }

    /// Whether that changed anything.
    pub(super) fn set(&mut self, number: u32, present: bool) -> bool {
        if self.contains(number) == present {
            return false;
        }
        let at = (number / WORD) as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at) {
            *word ^= 1 << (number % WORD);
        }
        true
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).step_by(WORD as usize).zip(&self.0).flat_map(|(first, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(first + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_and_go() {
        let mut bits = Bits::default();
        for number in [0, 63, 64, 200] {
            assert!(bits.set(number, true) && !bits.set(number, true), "{number}");
        }
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 200]);
        assert!(bits.set(64, false) && !bits.set(64, false) && !bits.set(9999, false));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 200]);
        assert!(bits.contains(63) && !bits.contains(64) && !bits.contains(10_000));
    }
}
