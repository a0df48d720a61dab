//! A TCP stream through a service, and in turn one straight to the same pod: what translating costs a
//! stream. By iperf3, through the service with a single endpoint: its two connections belong together.

use anyhow::Result;

use super::{ServiceBeds, with_counts};
use crate::bed::{Kind, Measured};
use crate::metric::{Better, Metric};
use crate::subject::Subject;
use crate::subject::services::{MOVING_PORT, Services};
use crate::workload::Options;
use crate::workload::tcp_stream::{self, Sample, Server};

pub(crate) const NAME: &str = "service-tcp";

/// What the stream is sent to.
const SERVICE: &str = "service";
const POD: &str = "pod";

struct Pair {
    through_service: Sample,
    to_pod: Sample,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.through_service.gigabits_per_second / self.to_pod.gigabits_per_second
    }
}

pub(crate) fn run(options: &Options, beds: &mut ServiceBeds) -> Result<Vec<Metric>> {
    let measured = beds.rounds(
        options.rounds,
        NAME,
        |pair: &Pair| {
            format!(
                "{:.2} Gbit/s, {:.2} of what goes to the pod",
                pair.through_service.gigabits_per_second,
                pair.ratio()
            )
        },
        |subject, services, round| measure(subject, services, round, options.seconds),
    )?;
    Ok(with_counts(&measured, describe))
}

fn describe(measured: &Measured<Pair>) -> Vec<Metric> {
    let kind = |name, unit, better| Kind { workload: NAME, name, unit, better };
    let throughput = kind("throughput", "Gbit/s", Better::Higher);
    let cpu = kind("cpu", "CPU s/GB", Better::Lower);
    vec![
        measured.metric(throughput, |p| p.through_service.gigabits_per_second).with_param("to", SERVICE),
        measured.metric(throughput, |p| p.to_pod.gigabits_per_second).with_param("to", POD),
        measured.metric(kind("service ÷ pod", "×", Better::Higher), Pair::ratio),
        measured.metric(cpu, |p| p.through_service.cpu_seconds_per_gigabyte).with_param("to", SERVICE),
        measured.metric(cpu, |p| p.to_pod.cpu_seconds_per_gigabyte).with_param("to", POD),
    ]
}

/// Whoever is second may find a warmer or a busier machine, so they change places.
fn measure(subject: &dyn Subject, services: &Services, round: u32, seconds: f64) -> Result<Pair> {
    let address = services.moving_address();
    let service = Server { pod: subject.server(), listen: MOVING_PORT, address };
    let pod = Server::direct(subject.server());
    if round.is_multiple_of(2) {
        let to_pod = tcp_stream::measure_to(subject, &pod, 1, seconds)?;
        Ok(Pair { through_service: tcp_stream::measure_to(subject, &service, 1, seconds)?, to_pod })
    } else {
        let through_service = tcp_stream::measure_to(subject, &service, 1, seconds)?;
        Ok(Pair { through_service, to_pod: tcp_stream::measure_to(subject, &pod, 1, seconds)? })
    }
}
