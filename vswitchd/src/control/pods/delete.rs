//! `delete-pod`.

use std::sync::Arc;

use protocol::message::{ApiError, ErrorCode, PodRef};
use protocol::object::Timestamp;
use store::record::{CoolingRecord, PodRecord, Provisioning};
use store::{Key, Kind, Transaction};

use super::super::inventory::{Life, Rest};
use super::super::node::Control;
use super::create::store_error;
use super::teardown::{self, Netns};
use super::{not_found, place};

/// Removes a pod because somebody asked for it. A runtime's container keeps its network until the runtime gives it back.
pub(crate) fn delete_asked(control: &Control, pod: &PodRef) -> Result<(), ApiError> {
    let entry = control.inventory.lock().get(pod).cloned().ok_or_else(|| not_found(pod))?;
    if let Some(attachment) = &entry.record.attachment
        && entry.life == Life::Ready
        && matches!(place::open(&entry.record), Ok(Some(_)) | Err(_))
    {
        let text = format!(
            "pod {pod} is {}, which runs; remove the container with the program that runs it",
            attachment.key
        );
        return Err(ApiError::new(ErrorCode::Forbidden, text));
    }
    delete(control, pod)
}

/// Removes a pod and everything it is made of. When this returns without an error, nothing of it is
/// left; with an error it can be repeated.
pub(crate) fn delete(control: &Control, pod: &PodRef) -> Result<(), ApiError> {
    delete_if(control, pod, |_| true)
}

/// As [`delete`], if the pod of that name is the one that is meant.
pub(super) fn delete_if(
    control: &Control,
    pod: &PodRef,
    is_meant: impl Fn(&PodRecord) -> bool,
) -> Result<(), ApiError> {
    let operation = {
        let inventory = control.inventory.lock();
        let entry = inventory.get(pod).filter(|entry| is_meant(&entry.record));
        entry.ok_or_else(|| not_found(pod))?.operation.clone()
    };
    let _held = operation.lock();
    let mut record = {
        let mut inventory = control.inventory.lock();
        // Another delete, or a failed create, may have removed it while this one waited, and another pod may have its name.
        let entry = inventory.get_mut(pod).filter(|entry| Arc::ptr_eq(&entry.operation, &operation));
        let entry = entry.ok_or_else(|| not_found(pod))?;
        entry.life = Life::Deleting;
        entry.record.clone()
    };
    control.services.on_pods_changed();
    // A delete that is interrupted is completed at the next start, not undone. Where this cannot be
    // written, the end of it cannot either, and the caller is told there.
    record.provisioning = Provisioning::Pending;
    if let Err(error) = control.commit(Transaction::new().put(record.key(), &record, None)) {
        tracing::warn!(%pod, "noting the intent to delete: {error}");
    }
    let errors = teardown::teardown(control, &record, Netns::of(&record));
    if !errors.is_empty() {
        let text = format!("pod {pod} is not completely removed, repeat the command: {}", errors.join("; "));
        return Err(ApiError::new(ErrorCode::Internal, text));
    }
    forget(control, &record).map_err(|e| store_error(&format!("pod {pod}"), &e))?;
    control.inventory.lock().remove(pod, Rest::CoolDown, control.now());
    control.services.on_pods_changed();
    Ok(())
}

/// Deletes the record and notes that its addresses rest, in one transaction.
pub(crate) fn forget(control: &Control, record: &PodRecord) -> Result<(), store::StoreError> {
    let released = CoolingRecord { released: Timestamp::now() };
    let mut transaction = Transaction::new().forget(record.key());
    for ip in &record.spec.pod_ips {
        transaction = transaction.put(Key::node_wide(Kind::CoolingAddress, ip.to_string()), &released, None);
    }
    control.commit(transaction).map(drop)
}
