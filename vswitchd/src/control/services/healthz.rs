//! `/healthz` and `/livez`, as kube-proxy serves them at port 10256; only if `services.healthz` is configured.

use std::io;
use std::sync::Arc;

use protocol::object::Timestamp;

use super::super::metrics::MetricsError;
use super::super::node::Control;

/// Services are forwarded as they should be: there is a datapath, and it runs what was last decided.
pub(super) fn is_healthy(control: &Control) -> bool {
    control.switch.link().status().pid.is_some() && control.switch_problem.lock().is_none()
}

/// Serves until the daemon ends.
pub(super) fn serve(control: &Arc<Control>) -> Result<(), MetricsError> {
    let Some(address) = control.config.services.healthz else { return Ok(()) };
    let fail = |problem: String| MetricsError::new("health (services.healthz)", &address, problem);
    let server = tiny_http::Server::http(address).map_err(|error| fail(error.to_string()))?;
    answer_on_thread(control, server).map_err(|error| fail(error.to_string()))
}

fn answer_on_thread(control: &Arc<Control>, server: tiny_http::Server) -> io::Result<()> {
    let control = Arc::clone(control);
    std::thread::Builder::new().name("healthz".to_owned()).spawn(move || {
        for request in server.incoming_requests() {
            let (status, body) = match request.url() {
                // A daemon that stops, or whose node goes, is not to get new connections; it lives all the same.
                "/healthz" => answer(is_healthy(&control) && control.gate.enter().is_some()),
                "/livez" => answer(is_healthy(&control)),
                _ => (404, "see /healthz and /livez\n".to_owned()),
            };
            let response = tiny_http::Response::from_string(body).with_status_code(status);
            let header = tiny_http::Header::from_bytes("Content-Type", "application/json");
            let response = header.into_iter().fold(response, tiny_http::Response::with_header);
            // Who hangs up gets nothing; there is nothing to do about it.
            let _ = request.respond(response);
        }
    })?;
    Ok(())
}

fn answer(is_well: bool) -> (u16, String) {
    let now = Timestamp::now();
    let body =
        format!("{{\"lastUpdated\": \"{now}\",\"currentTime\": \"{now}\", \"nodeEligible\": {is_well}}}");
    (if is_well { 200 } else { 503 }, body)
}
