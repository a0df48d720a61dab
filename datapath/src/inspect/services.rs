//! What services have to do, as rows for the control process.

use std::net::IpAddr;

use protocol::ServiceId;
use protocol::link::ServiceRow;
use protocol::object::ServiceCounters;

use super::page;
use crate::service::Work;
use crate::switch::Switch;

impl Switch {
    /// At most `max` rows of services and their backends, as this worker counted them, and the cursor of the next page. A
    /// service comes before its backends. What is active is known to all workers alike, and told by the first.
    #[must_use]
    pub fn services_page(&self, cursor: u64, max: usize) -> (Vec<ServiceRow>, Option<u64>) {
        let services = &self.slow_path.services;
        let first = usize::try_from(cursor >> 32).unwrap_or(usize::MAX);
        let rows = services.numbers_from(first).flat_map(move |service| {
            let positions = 0..=services.slots(service).len() as u64;
            positions.map(move |position| (u64::from(service.0) << 32 | position, service))
        });
        let rows = rows.skip_while(|(at, _)| *at < cursor);
        page(rows.filter_map(|(at, service)| Some((at, self.service_row(service, at & 0xffff_ffff)?))), max)
    }

    /// The service itself at position 0, then its backends.
    fn service_row(&self, service: ServiceId, position: u64) -> Option<ServiceRow> {
        let (services, traffic) = (&self.slow_path.services, self.flows.traffic());
        let Some(position) = position.checked_sub(1) else {
            let counters = self.counters(services.work(service, traffic));
            return Some(ServiceRow { service, backend: None, counters });
        };
        let slot = *services.slots(service).get(usize::try_from(position).ok()?)?;
        let (address, port) = services.address(slot)?;
        let counters = self.counters(services.work_of(slot, traffic));
        Some(ServiceRow { service, backend: Some((IpAddr::V4(address), port)), counters })
    }

    fn counters(&self, work: Work) -> ServiceCounters {
        let ([packets_in, packets_out], [bytes_in, bytes_out]) = (work.traffic.frames, work.traffic.bytes);
        ServiceCounters {
            active: if self.worker == 0 { work.active } else { 0 },
            connections: work.connections,
            packets_in,
            bytes_in,
            packets_out,
            bytes_out,
            refused: work.refused,
        }
    }
}
