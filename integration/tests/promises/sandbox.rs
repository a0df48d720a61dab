//! The process that parses what pods send can do nothing else.

use std::fs;

use integration::TestNode;

fn status(node: &TestNode, field: &str) -> String {
    let path = format!("/proc/{}/status", node.datapath_pid());
    let text = fs::read_to_string(path).expect("the datapath lives");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

#[test]
fn the_datapath_has_no_rights() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    assert!(a.pings(b.ip));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&node, set), "0000000000000000", "{set}");
    }
    assert!(status(&node, "Uid").split_whitespace().all(|uid| uid != "0"), "it does not run as root");
    assert_eq!(status(&node, "Seccomp"), "2", "it runs under a filter");
    assert_eq!(status(&node, "NoNewPrivs"), "1");
}

#[test]
fn nothing_is_inherited_that_is_not_meant_to_be() {
    let node = TestNode::start();
    let _ = node.create_pod_running("a", &["sleep", "600"]);
    // Descriptors of the daemon must not reach a container: standard streams only.
    let script = "ls -l /proc/self/fd | grep -v ' /proc/' | awk 'NR > 1 {print $9}'";
    let in_pod = node.vpodctl_words(&["exec", "a", "--", "sh", "-c", script]).ok();
    assert_eq!(in_pod.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"], "{in_pod}");
    let pid = node.pod("a").status.container_statuses.remove(0).state;
    let protocol::object::ContainerState::Running { pid, .. } = pid else { panic!("{pid:?}") };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count();
    assert_eq!(open, 3);
}
