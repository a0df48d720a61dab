use super::*;

fn load_text(text: &str) -> Result<Config, ConfigError> {
    Config::check(parse(Path::new("test.toml"), text)?)
}

pub(super) fn problem(text: &str) -> String {
    load_text(text).expect_err(text).to_string()
}

#[test]
fn an_empty_file_gives_the_documented_defaults() {
    let config = load_text("").unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/vswitchd"));
    assert_eq!(config.admin_socket(), Path::new("/run/vswitchd/admin.sock"));
    assert_eq!(config.cluster_cidr.to_string(), "10.244.0.0/16");
    assert_eq!(config.pod_cidr.to_string(), "10.244.0.0/24");
    assert_eq!(config.service_cidr.to_string(), "10.96.0.0/16");
    assert_eq!(config.cluster_dns.to_string(), "10.96.0.10");
    assert_eq!(config.gateway().to_string(), "10.244.0.1");
    assert_eq!(config.gateway_device, "vpod0");
    assert_eq!(config.fdb_ageing_seconds, 300);
    assert_eq!(config.effective_pod_mtu(Some(1500)), 1450);
    assert_eq!(config.effective_pod_mtu(None), 1450);
    assert_eq!(config.effective_pod_mtu(Some(u32::MAX)), 65_521);
}

#[test]
fn what_is_printed_reads_back_as_the_same_configuration() {
    let text = r#"
        node = "n1"
        pod_cidr = "10.244.7.0/24"
        netns_prefix = "n1-"
        pod_mtu = 8950
        tap = "plain"
        metrics = "127.0.0.1:9474"
        datapath_user = "12345"
        [log]
        filter = "vswitchd=debug"
        format = "json"
    "#;
    let config = load_text(text).unwrap();
    assert_eq!(load_text(&config.to_toml()).unwrap(), config);
}

/// Two peers, all of their keys in the first.
const PEERS: &str = r#"
    [tunnel]
    vni = 7
    udp_port = 8472
    address = "192.0.2.1"
    clamp_mss = true
    [[peer]]
    name = "b"
    address = "192.0.2.2"
    udp_port = 4790
    pod_cidrs = ["10.244.1.0/24", "10.244.3.0/24"]
    node_addresses = ["192.0.2.2", "198.51.100.2"]
    router_mac = "02:00:00:00:00:02"
    keep_alive = false
    [[peer]]
    name = "c"
    address = "192.0.2.3"
    pod_cidrs = ["10.244.2.0/24"]
"#;

const ETCD: &str = r#"
    node = "a"
    [tunnel]
    device = "eth1"
    [etcd]
    endpoints = ["https://192.0.2.9:2379", "https://[2001:db8::9]:2379"]
    ca = "/etc/vpod/ca.pem"
    cert = "/etc/vpod/node.pem"
    key = "/etc/vpod/node.key"
    user = "vpod"
    password_file = "/etc/vpod/password"
    lease_seconds = 30
"#;

#[test]
fn a_node_alone_has_no_tunnel_and_one_with_others_has() {
    assert_eq!(load_text("").unwrap().tunnel, None);
    let expected = Tunnel { vni: 1, udp_port: 4789, underlay: Underlay::DefaultRoute, clamp_mss: false };
    for text in ["[tunnel]", "[etcd]\nendpoints = [\"http://192.0.2.9:2379\"]"] {
        assert_eq!(load_text(text).unwrap().tunnel.as_ref(), Some(&expected), "{text}");
    }
    let peer = "[[peer]]\nname = \"b\"\naddress = \"192.0.2.2\"\npod_cidrs = [\"10.244.1.0/24\"]";
    assert_eq!(load_text(peer).unwrap().tunnel, Some(expected));
}

#[test]
fn what_is_not_said_of_a_peer_follows_from_the_rest() {
    let config = load_text(PEERS).unwrap();
    let [b, c] = config.peers.as_slice() else { panic!("{:?}", config.peers) };
    assert_eq!(
        (b.udp_port, b.keep_alive, b.router_mac.to_string().as_str()),
        (4790, false, "02:00:00:00:00:02")
    );
    assert_eq!(c.udp_port, 8472);
    assert_eq!(c.router_mac.to_string(), "0a:58:0a:f4:02:01");
    assert_eq!(c.node_addresses, ["192.0.2.3".parse::<std::net::IpAddr>().unwrap()]);
    assert!(c.keep_alive);
}

#[test]
fn what_is_printed_of_other_nodes_reads_back_too() {
    for text in [PEERS, ETCD] {
        let config = load_text(text).unwrap();
        assert_eq!(load_text(&config.to_toml()).unwrap(), config, "{}", config.to_toml());
    }
    assert!(!load_text(ETCD).unwrap().to_toml().contains("pod_cidr"));
    let asked = load_text(&format!("pod_cidr = \"10.244.9.0/24\"\n{ETCD}")).unwrap();
    assert_eq!(asked.etcd.as_ref().unwrap().requested_cidr, Some(asked.pod_cidr));
    assert_eq!(load_text(&asked.to_toml()).unwrap(), asked);
}

/// `text` with `from` replaced by `to`.
fn altered(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn every_wrong_value_about_other_nodes_names_its_key() {
    let peers = [
        ("vni = 7", "vni = 0", "tunnel.vni"),
        ("vni = 7", "vni = 16777216", "tunnel.vni"),
        ("udp_port = 8472", "udp_port = 0", "tunnel.udp_port"),
        ("udp_port = 8472", "udp_port = 65536", "tunnel.udp_port"),
        ("address = \"192.0.2.1\"", "address = \"2001:db8::1\"", "tunnel.address"),
        ("address = \"192.0.2.1\"", "address = \"0.0.0.0\"", "tunnel.address"),
        ("clamp_mss = true", "device = \"eth0\"", "tunnel.device"),
        ("name = \"b\"", "name = \"B b\"", "peer[0].name"),
        ("name = \"b\"", "", "peer[0].name"),
        ("name = \"c\"", "name = \"b\"", "peer[1].name"),
        ("address = \"192.0.2.2\"", "address = \"fe80::1\"", "peer[0].address"),
        ("address = \"192.0.2.2\"", "", "peer[0].address"),
        ("address = \"192.0.2.2\"", "address = \"192.0.2.1\"", "peer[0].address"),
        ("address = \"192.0.2.3\"", "address = \"192.0.2.2\"", "peer[1].address"),
        ("udp_port = 4790", "udp_port = 0", "peer[0].udp_port"),
        ("10.244.3.0/24", "10.244.3.0", "peer[0].pod_cidrs[1]"),
        ("10.244.3.0/24", "10.244.3.1/24", "peer[0].pod_cidrs[1]"),
        ("10.244.3.0/24", "10.244.1.128/25", "peer[0].pod_cidrs[1]"),
        ("10.244.2.0/24", "10.244.0.0/24", "peer[1].pod_cidrs[0]"),
        ("10.244.2.0/24", "10.244.3.0/25", "peer[1].pod_cidrs[0]"),
        ("10.244.2.0/24", "10.245.2.0/24", "peer[1].pod_cidrs[0]"),
        ("10.244.2.0/24", "fd00::/64", "peer[1].pod_cidrs[0]"),
        ("[\"10.244.2.0/24\"]", "[]", "peer[1].pod_cidrs"),
        ("198.51.100.2", "10.244.1.1", "peer[0].node_addresses[1]"),
        ("198.51.100.2", "host", "peer[0].node_addresses[1]"),
        ("02:00:00:00:00:02", "01:00:00:00:00:02", "peer[0].router_mac"),
        ("02:00:00:00:00:02", "02", "peer[0].router_mac"),
    ];
    let etcd = [
        ("[\"https://192.0.2.9:2379\", \"https://[2001:db8::9]:2379\"]", "[]", "etcd.endpoints"),
        ("https://192.0.2.9:2379", "192.0.2.9:2379", "etcd.endpoints[0]"),
        ("https://192.0.2.9:2379", "https://192.0.2.9", "etcd.endpoints[0]"),
        ("https://192.0.2.9:2379", "https://u@192.0.2.9:2379", "etcd.endpoints[0]"),
        ("https://192.0.2.9:2379", "http://192.0.2.9:2379", "etcd.endpoints[1]"),
        ("https://192.0.2.9:2379", "https://[2001:db8::9]:2379", "etcd.endpoints[1]"),
        ("/etc/vpod/ca.pem", "ca.pem", "etcd.ca"),
        ("cert = \"/etc/vpod/node.pem\"", "", "etcd.cert"),
        ("key = \"/etc/vpod/node.key\"", "", "etcd.key"),
        ("user = \"vpod\"", "", "etcd.user"),
        ("user = \"vpod\"", "user = \"\"", "etcd.user"),
        ("password_file = \"/etc/vpod/password\"", "", "etcd.password_file"),
        ("ca = \"/etc/vpod/ca.pem\"", "", "etcd.ca"),
        ("lease_seconds = 30", "lease_seconds = 1", "etcd.lease_seconds"),
        ("device = \"eth1\"", "device = \"\"", "tunnel.device"),
    ];
    let cases = peers.map(|case| (PEERS, case)).into_iter().chain(etcd.map(|case| (ETCD, case)));
    for (text, (from, to, key)) in cases {
        let text = altered(text, from, to);
        let error = problem(&text);
        assert!(error.starts_with(&format!("configuration key \"{key}\": ")), "{text}: {error}");
    }
    let plain = ETCD.replace("https", "http");
    assert!(problem(&plain).starts_with("configuration key \"etcd.ca\": "));
}

#[test]
fn unknown_keys_about_other_nodes_are_refused() {
    for text in
        ["[tunnel]\nvnid = 1", "[[peer]]\ncidr = \"\"", "[etcd]\nurl = \"\"", "[[peers]]\nname = \"b\""]
    {
        assert!(problem(text).contains("unknown field"), "{text}");
    }
}

#[test]
fn the_stores_range_is_held_against_the_configuration() {
    let other = "[[peer]]\nname = \"b\"\naddress = \"192.0.2.2\"\npod_cidrs = [\"10.244.0.0/24\"]\n";
    let config = load_text(&format!("{other}{ETCD}").replace("node = \"a\"", "")).unwrap();
    let error = config.clone().with_pod_cidr("10.244.0.0/25".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("peer[0].pod_cidrs[0]"), "{error}");
    let error = config.clone().with_pod_cidr("10.9.0.0/24".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("pod_cidr"), "{error}");
    assert_eq!(
        config.with_pod_cidr("10.244.5.0/24".parse().unwrap()).unwrap().gateway().to_string(),
        "10.244.5.1"
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let error = problem("node = \"a\"\npod_cird = \"10.0.0.0/24\"\n");
    assert!(error.contains("test.toml") && error.contains("line 2") && error.contains("pod_cird"), "{error}");
    let error = problem("[log]\nlevel = \"debug\"\n");
    assert!(error.contains("line 2") && error.contains("level"), "{error}");
}

#[test]
fn every_wrong_value_names_its_key() {
    let cases = [
        ("node = \"Not A Name\"", "node"),
        ("state_dir = \"relative\"", "state_dir"),
        ("state_dir = \"/\"", "state_dir"),
        ("run_dir = \"/run/../etc\"", "run_dir"),
        ("run_dir = \"/var/lib/vswitchd\"", "run_dir"),
        ("cluster_cidr = \"10.244.0.0\"", "cluster_cidr"),
        ("cluster_cidr = \"10.244.1.0/16\"", "cluster_cidr"),
        ("pod_cidr = \"10.245.0.0/24\"", "pod_cidr"),
        ("pod_cidr = \"10.244.0.0/31\"", "pod_cidr"),
        (
            "cluster_cidr = \"10.0.0.0/8\"\npod_cidr = \"10.0.0.0/12\"\nservice_cidr = \"172.16.0.0/16\"",
            "pod_cidr",
        ),
        ("cluster_cidr = \"fd00::/48\"", "pod_cidr"),
        ("service_cidr = \"10.244.128.0/20\"", "service_cidr"),
        ("service_cidr = \"10.0.0.0/8\"", "service_cidr"),
        ("netns_prefix = \"far-too-long-\"", "netns_prefix"),
        ("netns_prefix = \"a/b\"", "netns_prefix"),
        ("gateway_device = \"a-name-too-long0\"", "gateway_device"),
        ("workers = 0", "workers"),
        ("workers = 65", "workers"),
        ("workers = \"two\"", "workers"),
        ("pod_mtu = 575", "pod_mtu"),
        ("pod_mtu = 65522", "pod_mtu"),
        ("pod_mtu = 281474976711256", "pod_mtu"),
        ("txqueuelen = 1", "txqueuelen"),
        ("tap = \"tun\"", "tap"),
        ("cluster_domain = \"cluster..local\"", "cluster_domain"),
        ("cluster_dns = \"dns\"", "cluster_dns"),
        ("fdb_ageing_seconds = 0", "fdb_ageing_seconds"),
        ("datapath_user = \"no-such-user-here\"", "datapath_user"),
        ("metrics = \"9474\"", "metrics"),
        ("[log]\nfilter = \"vswitchd=nonsense\"", "log.filter"),
        ("[log]\nformat = \"xml\"", "log.format"),
    ];
    for (text, key) in cases {
        let error = problem(text);
        assert!(error.starts_with(&format!("configuration key \"{key}\": ")), "{text}: {error}");
    }
}

#[test]
fn values_of_the_wrong_type_are_refused_with_their_line() {
    let error = problem("txqueuelen = \"many\"");
    assert!(error.contains("line 1") && error.contains("txqueuelen"), "{error}");
    let error = problem("workers = true");
    assert!(error.contains("line 1") && error.contains("want \"auto\" or a number"), "{error}");
}

#[test]
fn a_missing_file_is_named_only_when_it_was_asked_for() {
    let error = load(Some(Path::new("/nonexistent/v.toml")), None).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/v.toml"), "{error}");
}

#[test]
fn the_smallest_cluster_is_its_own_pod_range() {
    let config = load_text("cluster_cidr = \"10.9.9.0/28\"").unwrap();
    assert_eq!(config.pod_cidr.to_string(), "10.9.9.0/28");
    assert_eq!(config.gateway().to_string(), "10.9.9.1");
}

#[test]
fn workers_are_counted_from_the_processors_unless_given() {
    let auto = load_text("workers = \"auto\"").unwrap();
    assert_eq!(auto, load_text("").unwrap());
    assert!((1..=8).contains(&auto.workers));
    let chosen = [1, 3, 4, 5, 8, 9, 32, 33, 1000].map(checked::auto_workers);
    assert_eq!(chosen, [1, 1, 1, 2, 2, 3, 8, 8, 8]);
    assert_eq!(load_text("workers = 64").unwrap().workers, 64);
    let printed = load_text("workers = 3").unwrap().to_toml();
    assert!(printed.contains("workers = 3\n"), "{printed}");
}
