use super::*;

fn load_text(text: &str) -> Result<Config, ConfigError> {
    Config::check(parse(Path::new("test.toml"), text)?)
}

fn problem(text: &str) -> String {
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
