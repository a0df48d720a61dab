//! The last words of this process.
//!
//! A panic ends the whole process: with a table half changed there is nothing safe left to do, and
//! a restart takes less time than a retransmission timer. Before it goes, the panic hook writes
//! whose frame was being processed and the panic's message to the crash report, which the control
//! process reads. The hook runs under the sandbox; it opens nothing and takes no backtrace.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::PanicHookInfo;

use protocol::PortId;

use crate::control::datapath_link::crash_report::CrashReport;

thread_local! {
    /// Whose frames this thread is processing. A batch comes from one port, so this is set once a
    /// batch and not once a frame.
    static INGRESS: Cell<Option<PortId>> = const { Cell::new(None) };
}

/// Says whose frames this thread works on from here on.
pub(super) fn set_ingress(port: Option<PortId>) {
    INGRESS.with(|ingress| ingress.set(port));
}

/// Reports a panic in any thread to `report`, then aborts.
pub(super) fn install_hook(report: File) {
    std::panic::set_hook(Box::new(move |info| {
        let crash =
            CrashReport { culprit: INGRESS.try_with(Cell::get).ok().flatten(), message: describe(info) };
        // Nobody is left to tell when this fails.
        let _ = report.write_all_at(&crash.encode(), 0);
        eprintln!("vswitchd datapath: {}", crash.message);
        // `panic = "abort"` is the profile's business; this makes it the process's.
        std::process::abort();
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message");
    match info.location() {
        Some(place) => format!("panicked at {place}: {text}"),
        None => format!("panicked: {text}"),
    }
}
