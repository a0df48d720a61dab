//! Samples and what is said about them.

use std::collections::BTreeMap;

use serde::Serialize;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// One measured quantity of one workload, for every subject.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Metric {
    pub(crate) workload: String,
    pub(crate) metric: String,
    /// What tells this from another run of the same workload: streams, sizes.
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) rounds: u32,
    pub(crate) subjects: BTreeMap<String, Samples>,
    /// Median of vpod ÷ median of the peer.
    pub(crate) ratios: BTreeMap<String, f64>,
    /// Peers that were asked for and could not be measured, with the reason.
    pub(crate) skipped: BTreeMap<String, String>,
}

/// Samples of one subject, in the order they were taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Samples {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) samples: Vec<f64>,
}

/// The name under which our own samples appear.
pub(crate) const VPOD: &str = "vpod";

impl Samples {
    /// `None` without samples.
    pub(crate) fn new(samples: Vec<f64>) -> Option<Self> {
        let median = quantile(&samples, 0.5)?;
        let min = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let max = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { median, min, max, samples })
    }
}

/// The `q`-quantile by linear interpolation between order statistics; `None` without samples.
pub(crate) fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "a benchmark takes fewer than 2^52 samples")]
    let position = q.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ≤ position ≤ last")]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * position.fract())
}

impl Metric {
    /// Sums up the samples of each subject, in the order they are to be shown.
    pub(crate) fn new(
        workload: &str,
        metric: &str,
        unit: &'static str,
        better: Better,
        samples: impl IntoIterator<Item = (String, Vec<f64>)>,
    ) -> Self {
        let subjects: BTreeMap<_, _> =
            samples.into_iter().filter_map(|(name, s)| Some((name, Samples::new(s)?))).collect();
        let ours = subjects.get(VPOD).map(|s| s.median);
        let ratio = |theirs: &Samples| ours.filter(|_| theirs.median != 0.0).map(|o| o / theirs.median);
        let ratios = subjects
            .iter()
            .filter(|(name, _)| name.as_str() != VPOD)
            .filter_map(|(name, theirs)| Some((name.clone(), ratio(theirs)?)))
            .collect();
        let rounds = subjects.values().map(|s| s.samples.len()).max().unwrap_or(0);
        Self {
            workload: workload.to_owned(),
            metric: metric.to_owned(),
            params: BTreeMap::new(),
            unit,
            better,
            rounds: u32::try_from(rounds).unwrap_or(u32::MAX),
            subjects,
            ratios,
            skipped: BTreeMap::new(),
        }
    }

    /// A workload of which nothing was measured, and why.
    pub(crate) fn not_measured(workload: &str, reason: &anyhow::Error) -> Self {
        let mut metric = Self::new(workload, "", "", Better::Higher, []);
        metric.skipped.insert("everything".to_owned(), format!("{reason:#}"));
        metric
    }

    pub(crate) fn with_param(mut self, name: &str, value: impl ToString) -> Self {
        self.params.insert(name.to_owned(), value.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn high_quantiles_stay_within_the_samples() {
        let samples: Vec<_> = (0..100).map(f64::from).collect();
        assert_eq!(quantile(&samples, 1.0), Some(99.0));
        assert!((quantile(&samples, 0.99).unwrap() - 98.01).abs() < 1e-9);
    }

    #[test]
    fn ratio_is_ours_over_theirs() {
        let samples = [(VPOD.to_owned(), vec![8.0, 9.0]), ("bridge".to_owned(), vec![10.0])];
        let metric = Metric::new("w", "m", "Gbit/s", Better::Higher, samples);
        assert_eq!(metric.ratios["bridge"], 0.85);
        assert_eq!(metric.rounds, 2);
    }
}
