//! Calls as runtimes make them, and as nobody should.

mod behaviours;
mod capabilities;
mod checks;
mod environment;
mod ipam;
mod ports;
mod properties;
mod refusals;
mod results;
mod specification;

use std::ffi::OsString;

use serde_json::{Value, json};

use crate::{Asked, Attachment, Call, Code, Error, Role, Variables, Verb, read};

const CONTAINER: &str = "some-container-id";
const NETNS: &str = "/var/run/netns/blue";

/// Variables of a call that is right, with some of them changed; an empty value is none.
fn variables(command: &str, changed: &[(&str, &str)]) -> Variables {
    Variables::read(|name| {
        let changed = changed.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let value = changed.unwrap_or(match name {
            "CNI_COMMAND" => command,
            "CNI_CONTAINERID" => CONTAINER,
            "CNI_NETNS" => NETNS,
            "CNI_IFNAME" => "eth0",
            "CNI_PATH" => "/opt/cni/bin",
            _ => "",
        });
        Some(OsString::from(value))
    })
}

/// A configuration of the newest version with further keys.
fn config(further: &Value) -> Value {
    let mut config = json!({ "cniVersion": "1.1.0", "name": "podnet", "type": "vpod-cni" });
    for (key, value) in further.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn ask(command: &str, changed: &[(&str, &str)], config: &Value) -> Result<Asked, Error> {
    read(Role::Interface, &variables(command, changed), || Ok(config.to_string().into_bytes()))
}

#[track_caller]
fn call(command: &str, changed: &[(&str, &str)], config: &Value) -> Call {
    match ask(command, changed, config) {
        Ok(Asked::Call(call)) => *call,
        other => panic!("{other:?} for {config}"),
    }
}

#[track_caller]
fn refused(command: &str, changed: &[(&str, &str)], config: &Value, code: Code) -> Error {
    let error = ask(command, changed, config).expect_err("refused");
    assert_eq!(error.code, code, "{error} for {config}");
    let object: Value = error.to_json().parse().unwrap();
    assert_eq!(object["code"], code.number());
    assert!(!object["msg"].as_str().unwrap().is_empty());
    error
}

/// What ADD asks of the switch.
#[track_caller]
fn added(changed: &[(&str, &str)], config: &Value) -> Attachment {
    match call("ADD", changed, config).verb {
        Verb::Add { attachment, .. } => *attachment,
        other => panic!("{other:?}"),
    }
}
