//! Log lines on standard error, with a filter that can be replaced while running.

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;

/// The active filter.
pub(crate) struct Logs {
    handle: reload::Handle<EnvFilter, Registry>,
    filter: Mutex<String>,
}

/// Why a filter was not accepted.
#[derive(Debug, thiserror::Error)]
#[error("log filter \"{filter}\": {problem}")]
pub(crate) struct FilterError {
    filter: String,
    problem: String,
}

impl FilterError {
    fn new(filter: &str, problem: &dyn std::fmt::Display) -> Self {
        Self { filter: filter.to_owned(), problem: problem.to_string() }
    }
}

impl Logs {
    /// Starts logging. Once per process.
    pub(crate) fn start(filter: &str, format: LogFormat) -> Result<Self, FilterError> {
        let parsed = EnvFilter::try_new(filter).map_err(|e| FilterError::new(filter, &e))?;
        let (layer, handle) = reload::Layer::new(parsed);
        let lines = match format {
            LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(false).boxed(),
            LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().boxed(),
        };
        tracing_subscriber::registry()
            .with(layer)
            .with(lines)
            .try_init()
            .map_err(|e| FilterError::new(filter, &e))?;
        Ok(Self { handle, filter: Mutex::new(filter.to_owned()) })
    }

    /// Replaces the filter.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<(), FilterError> {
        let parsed = EnvFilter::try_new(filter).map_err(|e| FilterError::new(filter, &e))?;
        self.handle.reload(parsed).map_err(|e| FilterError::new(filter, &e))?;
        filter.clone_into(&mut self.filter.lock());
        Ok(())
    }

    /// The active filter.
    pub(crate) fn filter(&self) -> String {
        self.filter.lock().clone()
    }
}
