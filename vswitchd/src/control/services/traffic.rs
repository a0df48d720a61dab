//! What services have to do, as `get traffic` and metrics show it.
//!
//! There may be a hundred thousand rows, so nothing is looked for among all of them: rows of a service port come together, and pods are
//! found by address. Metrics show some services only, and no others are asked for.

use std::net::IpAddr;

use protocol::link::{FromDatapath, ServiceRow, ToDatapath};
use protocol::object::{Backend, Traffic};
use protocol::{Namespace, ServiceId};
use store::services::{ObjectRef, Table};

use super::super::node::Control;
use super::super::switch::SwitchError;
use super::super::tables::pages_until;

/// Services of one namespace if given, each before its backends, with the pods that these are.
pub(crate) fn traffic(control: &Control, namespace: Option<&Namespace>) -> Result<Vec<Traffic>, SwitchError> {
    let rows = rows(control, usize::MAX)?;
    let table = control.services.table.lock();
    let is_wanted = |object: &ObjectRef| namespace.is_none_or(|wanted| object.namespace == *wanted);
    let pod = |object: &ObjectRef, address| {
        let pod = table.backend_pod(object, address);
        pod.map(ToString::to_string).unwrap_or_default()
    };
    Ok(joined(rows, &table, is_wanted, pod))
}

/// Of so many service ports at most, those with the lowest numbers, which stay the same while services come and go; without pods.
pub(crate) fn first_traffic(control: &Control, services: usize) -> Result<Vec<Traffic>, SwitchError> {
    let mut rows = rows(control, services)?;
    let of_service = |row: &(usize, &ServiceRow)| row.1.backend.is_none();
    let end = rows.iter().enumerate().filter(of_service).nth(services).map(|(at, _)| at);
    rows.truncate(end.unwrap_or(rows.len()));
    let table = control.services.table.lock();
    Ok(joined(rows, &table, |_| true, |_, _| String::new()))
}

/// By number of the service port; at least those of `services` of them, if there are as many.
fn rows(control: &Control, services: usize) -> Result<Vec<ServiceRow>, SwitchError> {
    let mut seen = 0;
    pages_until(
        control,
        |cursor| ToDatapath::Services { cursor },
        |answer| match answer {
            FromDatapath::Services { rows, next } => Ok((rows, next)),
            other => Err(Box::new(other)),
        },
        |page| {
            seen += page.iter().filter(|row| row.backend.is_none()).count();
            // One more has begun, so the one before is whole.
            seen > services
        },
    )
}

/// Rows of one service port.
struct Group {
    object: ObjectRef,
    port: String,
    protocol: u8,
    rows: Vec<ServiceRow>,
}

/// Rows with what is known of their services, in the order of names.
fn joined(
    rows: Vec<ServiceRow>,
    table: &Table,
    is_wanted: impl Fn(&ObjectRef) -> bool,
    pod: impl Fn(&ObjectRef, IpAddr) -> String,
) -> Vec<Traffic> {
    let group = |id: ServiceId, rows: Vec<ServiceRow>| {
        let config = &table.states().get(id)?.config;
        let (object, port) = config.name.rsplit_once(':')?;
        let object = ObjectRef::parse(object).filter(|object| is_wanted(object))?;
        Some(Group { object, port: port.to_owned(), protocol: config.transport.number(), rows })
    };
    let mut groups = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(id) = rows.peek().map(|row| row.service) {
        let its = std::iter::from_fn(|| rows.next_if(|row| row.service == id)).collect();
        groups.extend(group(id, its));
    }
    groups.sort_by(|a, b| a.object.cmp(&b.object));
    let traffic = |Group { object, port, protocol, rows }: Group| {
        let row = |row: ServiceRow| {
            let backend = row.backend.map(|(address, port)| {
                let pod = pod(&object, address);
                Backend { address, port, pod }
            });
            Traffic {
                namespace: object.namespace.clone(),
                service: object.name.clone(),
                port: port.clone(),
                protocol,
                backend,
                counters: row.counters,
            }
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    groups.into_iter().flat_map(traffic).collect()
}
