//! Addresses for interfaces that other plugins make: what `vpod-ipam` asks for.

use std::net::IpAddr;

use ipnet::IpNet;
use protocol::Mac;
use protocol::attachment::{Attach, Attached, AttachmentKey, Resolver};
use protocol::message::{ApiError, ErrorCode};
use protocol::object::Timestamp;
use store::record::{CoolingRecord, ReservationRecord};
use store::{Key, Kind, Transaction};

use super::super::super::error::api;
use super::super::super::inventory::{Reservation, Rest};
use super::super::super::node::Control;
use super::{plan, refuse_second};

/// Takes an address; it is recorded when this returns.
pub(super) fn reserve(control: &Control, request: &Attach) -> Result<Attached, ApiError> {
    let key = &request.key;
    plan::check_addresses(control, request)
        .map_err(|why| ApiError::new(ErrorCode::Invalid, format!("{key}: {why}")))?;
    let record = ReservationRecord {
        key: key.clone(),
        netns: request.netns.clone(),
        netns_identity: request.netns_identity,
    };
    let ip = {
        let mut inventory = control.inventory.lock();
        refuse_second(&inventory, key, &request.pod)?;
        let ip = plan::address(control, &mut inventory, request, &key.to_string())?;
        inventory.reserve(Reservation { ip, record: record.clone() });
        ip
    };
    if let Err(error) = control.commit(Transaction::new().put(stored_at(ip), &record, None)) {
        control.inventory.lock().unreserve(key, Rest::None, control.now());
        return Err(api(ErrorCode::Internal, key, &error));
    }
    Ok(answer(control, ip))
}

/// Gives it back; done if there is none.
pub(super) fn release(control: &Control, key: &AttachmentKey) -> Result<(), ApiError> {
    let Some(ip) = control.inventory.lock().reservations().get(key).map(|reservation| reservation.ip) else {
        return Ok(());
    };
    let released = CoolingRecord { released: Timestamp::now() };
    let transaction = Transaction::new().forget(stored_at(ip)).put(
        Key::node_wide(Kind::CoolingAddress, ip.to_string()),
        &released,
        None,
    );
    control.commit(transaction).map_err(|e| api(ErrorCode::Internal, key, &e))?;
    control.inventory.lock().unreserve(key, Rest::CoolDown, control.now());
    Ok(())
}

/// What a plugin is told.
pub(super) fn answer(control: &Control, ip: IpAddr) -> Attached {
    let config = &control.config;
    let net = IpNet::new(ip, config.pod_cidr.prefix_len()).unwrap_or_else(|_| ip.into());
    Attached {
        mac: Mac::for_pod(ip),
        ip_mtu: control.pod_mtu(),
        addresses: vec![(net, config.gateway())],
        resolver: Resolver::default(),
    }
}

fn stored_at(ip: IpAddr) -> Key {
    Key::node_wide(Kind::Reservation, ip.to_string())
}
