//! Requests of the CNI plugin.

use protocol::attachment::AttachmentRequest;
use protocol::codec::CodecError;
use protocol::message::{ITEMS_PER_RESPONSE, Response};

use super::super::node::Control;
use super::super::pods::attach;
use super::connection::Client;
use super::requests::change;

/// Answers one request.
pub(super) fn answer(
    control: &Control,
    client: &mut Client,
    request: AttachmentRequest,
) -> Result<(), CodecError> {
    let response = match request {
        AttachmentRequest::Attach(request) => {
            let key = request.key.clone();
            let response = change(control, client, "attach", &key, || {
                attach::attach(control, *request).map(|attached| Response::Attached(Box::new(attached)))
            });
            // A plugin that was killed meanwhile tells its runtime nothing, so nobody would know of what was made.
            if matches!(response, Response::Attached(_)) && client.has_hung_up() {
                change(control, client, "detach", &key, || {
                    attach::detach(control, &key).map(|()| Response::Done)
                });
                return Err(CodecError::Closed);
            }
            response
        }
        AttachmentRequest::Detach(key) => {
            change(control, client, "detach", &key, || attach::detach(control, &key).map(|()| Response::Done))
        }
        AttachmentRequest::Show(key) => match attach::show(control, &key) {
            Ok(attached) => Response::Attached(Box::new(attached)),
            Err(error) => Response::Error(error),
        },
        AttachmentRequest::List(network) => {
            for page in attach::list(control, &network).chunks(ITEMS_PER_RESPONSE) {
                client.send(&Response::Attachments(page.to_vec()))?;
            }
            Response::Done
        }
        AttachmentRequest::Readiness => Response::Readiness(attach::readiness(control)),
    };
    client.send(&response)
}
