//! Subjects side by side: sets them up, measures them in turn, and keeps apart what is whose fault.
//!
//! vpod failing is an error of the run. A peer failing is a gap in the table, shown with its reason.
//! Whoever damages or doubles what it carries ends the run, peer or not: figures of a run in which
//! that happens mean nothing, and the harness itself may be at fault.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::host::{check_stop, pause, progress, stopped};
use crate::metric::{Better, Metric, VPOD};
use crate::subject::{self, Place, Subject};
use crate::workload::Options;

/// A subject did not deliver what was sent.
#[derive(Debug, thiserror::Error)]
#[error("{subject} does not deliver what is sent: {what}")]
pub(crate) struct Damaged {
    subject: String,
    what: String,
}

impl Damaged {
    pub(crate) fn by(subject: &dyn Subject, what: impl Into<String>) -> Self {
        Self { subject: subject.name().to_owned(), what: what.into() }
    }
}

/// vpod and the peers that could be set up.
pub(crate) struct Bed {
    /// vpod first, unless only peers are measured.
    subjects: Vec<Box<dyn Subject>>,
    skipped: BTreeMap<String, String>,
}

/// Samples of each subject, in the order they were taken.
pub(crate) struct Measured<T> {
    samples: BTreeMap<&'static str, Vec<T>>,
    skipped: BTreeMap<String, String>,
}

/// What a metric is called and how it is to be read.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) workload: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

impl Bed {
    /// Sets vpod and the peers up, each with `pods` pods.
    pub(crate) fn set_up(options: &Options, pods: usize) -> Result<Self> {
        Self::set_up_in(Place::OneNode, options, pods)
    }

    /// As [`Bed::set_up`], in another place; peers that cannot live there are left out.
    pub(crate) fn set_up_in(place: Place, options: &Options, pods: usize) -> Result<Self> {
        let mut bed = Self { subjects: Vec::new(), skipped: BTreeMap::new() };
        if !options.only_peers {
            bed.subjects.push(subject::ours(place)?);
        }
        for peer in options.peers.iter().filter(|peer| peer.lives_in(place)) {
            check_stop()?;
            match subject::set_up(*peer, &options.settings, place) {
                Ok(subject) => bed.subjects.push(subject),
                Err(error) => bed.skip(peer.name(), &error)?,
            }
        }
        bed.grow(pods)?;
        Ok(bed)
    }

    /// Adds pods until each subject has `pods`.
    pub(crate) fn grow(&mut self, pods: usize) -> Result<()> {
        self.each(&format!("{pods} pods"), |subject| {
            while subject.pods().len() < pods {
                check_stop()?;
                subject.add_pod().with_context(|| format!("pod {}", subject.pods().len()))?;
            }
            Ok(())
        })
    }

    /// Does something to each subject once.
    pub(crate) fn each(
        &mut self,
        what: &str,
        mut step: impl FnMut(&mut dyn Subject) -> Result<()>,
    ) -> Result<()> {
        self.quietly(|subject| {
            progress(&format!("{}: {what}", subject.name()));
            step(subject)
        })
    }

    fn quietly(&mut self, mut step: impl FnMut(&mut dyn Subject) -> Result<()>) -> Result<()> {
        // Backwards, because a peer that fails is removed.
        for index in (0..self.subjects.len()).rev() {
            check_stop()?;
            self.attempt(index, &mut step)?;
        }
        Ok(())
    }

    /// Measures each subject once, `rounds` times over.
    pub(crate) fn rounds<T>(
        &mut self,
        rounds: u32,
        what: &str,
        show: impl Fn(&T) -> String,
        mut measure: impl FnMut(&mut dyn Subject) -> Result<T>,
    ) -> Result<Measured<T>> {
        let mut measured = Measured::default();
        for round in 1..=rounds {
            let what = format!("{what}, round {round}/{rounds}");
            self.round(&what, &show, &mut measure, &mut measured)?;
        }
        Ok(measured)
    }

    /// Measures each subject once more.
    pub(crate) fn round<T>(
        &mut self,
        what: &str,
        show: impl Fn(&T) -> String,
        mut measure: impl FnMut(&mut dyn Subject) -> Result<T>,
        measured: &mut Measured<T>,
    ) -> Result<()> {
        let mut index = 0;
        while index < self.subjects.len() {
            check_stop()?;
            let name = self.subjects[index].name();
            // A subject that failed is no longer there, and the next has its index.
            let Some(sample) = self.attempt(index, &mut measure)? else {
                measured.samples.remove(name);
                continue;
            };
            progress(&format!("{what}: {name}: {}", show(&sample)));
            measured.samples.entry(name).or_default().push(sample);
            index += 1;
        }
        measured.skipped = self.skipped.clone();
        Ok(())
    }

    /// Measures how fast something of each subject grows while nothing happens: all at the same
    /// time, because idle subjects are not in each other's way. Per second, `rounds` times.
    pub(crate) fn at_rest(
        &mut self,
        rounds: u32,
        length: Duration,
        what: &str,
        mut read: impl FnMut(&mut dyn Subject) -> Result<f64>,
    ) -> Result<Measured<f64>> {
        let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for round in 1..=rounds {
            progress(&format!("{what}, round {round}/{rounds}: all at once"));
            let mut before = BTreeMap::new();
            self.quietly(|subject| {
                before.insert(subject.name(), (Instant::now(), read(subject)?));
                Ok(())
            })?;
            pause(length)?;
            self.quietly(|subject| {
                let Some((since, value)) = before.get(subject.name()) else { return Ok(()) };
                let per_second = (read(subject)? - value) / since.elapsed().as_secs_f64();
                samples.entry(subject.name()).or_default().push(per_second);
                Ok(())
            })?;
        }
        samples.retain(|name, _| !self.skipped.contains_key(*name));
        Ok(Measured { samples, skipped: self.skipped.clone() })
    }

    /// `None` when the subject is a peer that failed; it is taken down.
    fn attempt<T>(
        &mut self,
        index: usize,
        step: &mut impl FnMut(&mut dyn Subject) -> Result<T>,
    ) -> Result<Option<T>> {
        let name = self.subjects[index].name();
        match step(self.subjects[index].as_mut()) {
            Ok(value) => Ok(Some(value)),
            Err(error) if name == VPOD => Err(error.context(VPOD)),
            Err(error) => {
                self.skip(name, &error).map_err(|_| error)?;
                self.subjects.remove(index);
                Ok(None)
            }
        }
    }

    /// Notes that a peer is not measured. Fails when that is more than the peer's own trouble.
    fn skip(&mut self, peer: &str, error: &anyhow::Error) -> Result<()> {
        if stopped() {
            anyhow::bail!("interrupted");
        }
        if let Some(damaged) = error.downcast_ref::<Damaged>() {
            anyhow::bail!("{damaged}");
        }
        progress(&format!("{peer}: not measured: {error:#}"));
        self.skipped.insert(peer.to_owned(), format!("{error:#}"));
        Ok(())
    }
}

impl<T> Default for Measured<T> {
    fn default() -> Self {
        Self { samples: BTreeMap::new(), skipped: BTreeMap::new() }
    }
}

impl<T> Measured<T> {
    /// One quantity of the samples.
    pub(crate) fn metric(&self, kind: Kind, field: impl Fn(&T) -> f64) -> Metric {
        self.metric_of_some(kind, |sample| Some(field(sample)))
    }

    /// One quantity of those samples that have it.
    pub(crate) fn metric_of_some(&self, kind: Kind, field: impl Fn(&T) -> Option<f64>) -> Metric {
        let samples = self
            .samples
            .iter()
            .map(|(name, samples)| ((*name).to_owned(), samples.iter().filter_map(&field).collect()));
        let mut metric = Metric::new(kind.workload, kind.name, kind.unit, kind.better, samples);
        metric.skipped = self.skipped.clone();
        metric
    }
}

/// How long a program that measures for `seconds` may take altogether.
pub(crate) fn limit(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds) + Duration::from_secs(20)
}
