//! Variables.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::version;

#[test]
fn everything_missing_is_named_at_once() {
    let none = [("CNI_CONTAINERID", ""), ("CNI_NETNS", ""), ("CNI_IFNAME", ""), ("CNI_PATH", "")];
    for (command, names) in [
        ("ADD", vec!["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("CHECK", vec!["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("DEL", vec!["CNI_CONTAINERID", "CNI_IFNAME"]),
        ("GC", vec!["CNI_PATH"]),
        ("STATUS", vec!["CNI_PATH"]),
    ] {
        let error = refused(command, &none, &config(&json!({})), Code::InvalidEnvironment);
        let said = error.message.split(": ").last().unwrap();
        assert_eq!(said, names.join(", "), "{command}: {error}");
    }
}

#[test]
fn each_missing_variable_is_named_alone() {
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
        let error = refused("ADD", &[(name, "")], &config(&json!({})), Code::InvalidEnvironment);
        assert!(error.message.ends_with(&format!(": {name}")), "{error}");
    }
}

#[test]
fn a_missing_variable_is_told_before_standard_input_is_waited_for() {
    let error =
        read(Role::Interface, &variables("ADD", &[("CNI_NETNS", "")]), || panic!("read")).unwrap_err();
    assert_eq!(error.code, Code::InvalidEnvironment);
}

#[test]
fn what_a_verb_does_not_require_may_be_missing() {
    call("DEL", &[("CNI_NETNS", ""), ("CNI_PATH", "")], &config(&json!({})));
    call("ADD", &[("CNI_PATH", "")], &config(&json!({})));
    let none = [("CNI_CONTAINERID", ""), ("CNI_NETNS", ""), ("CNI_IFNAME", "")];
    call("STATUS", &none, &config(&json!({})));
    call("GC", &none, &config(&json!({ "cni.dev/valid-attachments": [] })));
}

#[test]
fn everything_invalid_is_named_at_once_with_its_value() {
    let wrong =
        [("CNI_CONTAINERID", "../x"), ("CNI_NETNS", "blue"), ("CNI_IFNAME", "eth0:1"), ("CNI_ARGS", "FOO=1")];
    let error = refused("ADD", &wrong, &config(&json!({ "cniVersion": "0.4.0" })), Code::InvalidEnvironment);
    for part in
        ["CNI_CONTAINERID \"../x\"", "CNI_NETNS \"blue\"", "CNI_IFNAME \"eth0:1\"", "CNI_ARGS \"FOO\""]
    {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    assert_eq!(error.version, "0.4.0");
}

#[test]
fn ids_and_interface_names_that_lead_elsewhere_are_refused_by_every_verb_that_has_them() {
    let long = "a".repeat(256);
    for command in ["ADD", "DEL", "CHECK"] {
        for id in ["../../etc/passwd", "a/b", "a\0b", "-a", "ä", "a b", &long] {
            let error =
                refused(command, &[("CNI_CONTAINERID", id)], &config(&json!({})), Code::InvalidEnvironment);
            assert!(error.message.contains("CNI_CONTAINERID"), "{error}");
        }
        for name in ["..", ".", "a/b", "a:b", "a b", "eth\0", "ethé", "abcdefghijklmnop", "eth%d"] {
            let error =
                refused(command, &[("CNI_IFNAME", name)], &config(&json!({})), Code::InvalidEnvironment);
            assert!(error.message.contains("CNI_IFNAME"), "{error}");
        }
    }
}

#[test]
fn variables_that_are_no_text_are_refused() {
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_COMMAND"] {
        let variables = Variables::read(|asked| {
            Some(match asked {
                asked if asked == name => OsString::from_vec(vec![b'/', 0xff, 0xfe]),
                "CNI_COMMAND" => "ADD".into(),
                "CNI_CONTAINERID" => CONTAINER.into(),
                "CNI_NETNS" => NETNS.into(),
                "CNI_IFNAME" => "eth0".into(),
                _ => OsString::new(),
            })
        });
        let error = read(Role::Interface, &variables, || Ok(config(&json!({})).to_string().into_bytes()))
            .unwrap_err();
        assert_eq!(error.code, Code::InvalidEnvironment);
        assert!(error.message.contains(name), "{error}");
    }
}

#[test]
fn commands_are_known_by_their_exact_names() {
    for command in ["add", "ADD ", "DELETE", "ADD\n", "LIST", "ÄDD"] {
        let error = refused(command, &[], &config(&json!({})), Code::InvalidEnvironment);
        assert!(error.message.contains("CNI_COMMAND") && error.message.contains("STATUS"), "{error}");
    }
}

#[test]
fn a_blank_command_is_a_person_who_is_told_what_this_is() {
    let asked = read(Role::Interface, &variables("", &[]), || panic!("read")).unwrap();
    assert_eq!(asked, Asked::About);
    let about = crate::about(Role::Interface);
    assert!(about.contains("vpod-cni") && about.ends_with("0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{about}");
}

#[test]
fn version_needs_no_other_variable_and_reads_no_standard_input() {
    let none = [("CNI_CONTAINERID", ""), ("CNI_NETNS", ""), ("CNI_IFNAME", ""), ("CNI_PATH", "")];
    let asked = read(Role::Interface, &variables("VERSION", &none), || panic!("read")).unwrap();
    assert_eq!(asked, Asked::Version);
    assert!(version::answer().contains("supportedVersions"));
}

#[test]
fn the_own_namespace_is_allowed_only_when_that_is_said() {
    for (value, allowed) in
        [("", false), ("0", false), ("no", false), ("1", true), ("true", true), ("TRUE", true)]
    {
        let attachment = added(&[("CNI_NETNS_OVERRIDE", value)], &config(&json!({})));
        assert_eq!(attachment.netns_override, allowed, "{value:?}");
    }
}

#[test]
fn paths_of_plugins_are_separated() {
    let call = call("ADD", &[("CNI_PATH", "/opt/cni/bin:/usr/lib/cni")], &config(&json!({})));
    assert_eq!(call.path, ["/opt/cni/bin", "/usr/lib/cni"].map(std::path::PathBuf::from));
}
