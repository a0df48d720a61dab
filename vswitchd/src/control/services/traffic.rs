//! What services have to do, as `get traffic` and metrics show it.

use std::collections::BTreeMap;

use protocol::link::{FromDatapath, ServiceRow, ToDatapath};
use protocol::object::{Backend, Traffic};
use protocol::{Namespace, ServiceId};
use store::services::{Endpoint, ObjectRef};

use super::super::node::Control;
use super::super::switch::SwitchError;
use super::super::tables::pages;

/// Services of one namespace if given, each before its backends.
pub(crate) fn traffic(control: &Control, namespace: Option<&Namespace>) -> Result<Vec<Traffic>, SwitchError> {
    let rows = pages(
        control,
        |cursor| ToDatapath::Services { cursor },
        |answer| match answer {
            FromDatapath::Services { rows, next } => Ok((rows, next)),
            other => Err(Box::new(other)),
        },
    )?;
    let table = control.services.table.lock();
    let states = table.states();
    let known: BTreeMap<ServiceId, _> = states
        .iter()
        .filter_map(|(id, state)| {
            let (object, port) = state.config.name.rsplit_once(':')?;
            Some((id, (ObjectRef::parse(object)?, port.to_owned(), state.config.transport.number())))
        })
        .collect();
    let is_wanted = |object: &ObjectRef| namespace.is_none_or(|wanted| object.namespace == *wanted);
    // Rows of a service come together.
    let mut endpoints: Option<(&ObjectRef, Vec<Endpoint>)> = None;
    let row = |row: ServiceRow| {
        let (object, port, protocol) = known.get(&row.service).filter(|(object, ..)| is_wanted(object))?;
        let backend = row.backend.map(|(address, port)| {
            if endpoints.as_ref().is_none_or(|(whose, _)| *whose != object) {
                endpoints = Some((object, table.endpoints_of(object)));
            }
            let mut all = endpoints.iter().flat_map(|(_, all)| all);
            let its = all.find(|endpoint| endpoint.address == address);
            let pod = its.and_then(|endpoint| endpoint.pod.as_ref()).map(ToString::to_string);
            Backend { address, port, pod: pod.unwrap_or_default() }
        });
        Some(Traffic {
            namespace: object.namespace.clone(),
            service: object.name.clone(),
            port: port.clone(),
            protocol: *protocol,
            backend,
            counters: row.counters,
        })
    };
    let mut rows: Vec<Traffic> = rows.into_iter().filter_map(row).collect();
    rows.sort_by(|a, b| (&a.namespace, &a.service).cmp(&(&b.namespace, &b.service)));
    Ok(rows)
}
