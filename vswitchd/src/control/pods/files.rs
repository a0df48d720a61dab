//! A pod's own `/etc/resolv.conf` and `/etc/hosts`, as Kubernetes writes them.
//!
//! They live in `/etc/netns/<netns>/`, where `ip netns exec` looks for files to mount over those of
//! the node, so that programs started by hand see the same as containers.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use protocol::message::PodRef;
use protocol::object::PodSpec;

const NETNS_ETC: &str = "/etc/netns";

/// Directory of the files of `netns`.
pub(crate) fn directory(netns: &str) -> PathBuf {
    Path::new(NETNS_ETC).join(netns)
}

/// Which file appears where. Nothing can be mounted over a file that the machine does not have
/// (minimal systems lack `/etc/hosts`, others a `resolv.conf` to which the link points).
pub(crate) fn binds(netns: &str) -> Vec<(String, String)> {
    let bind = |name: &str| (directory(netns).join(name).display().to_string(), format!("/etc/{name}"));
    let targets = [bind("resolv.conf"), bind("hosts")].into_iter();
    targets.filter(|(_, target)| Path::new(target).exists()).collect()
}

/// Writes both files.
pub(crate) fn write(netns: &str, resolv_conf: &str, hosts: &str) -> io::Result<()> {
    let dir = directory(netns);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("resolv.conf"), resolv_conf)?;
    fs::write(dir.join("hosts"), hosts)
}

/// Removes both files; done if there are none. A file that somebody added keeps the directory.
pub(crate) fn remove(netns: &str) -> io::Result<()> {
    let dir = directory(netns);
    for result in
        [fs::remove_file(dir.join("resolv.conf")), fs::remove_file(dir.join("hosts")), fs::remove_dir(&dir)]
    {
        match result {
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::DirectoryNotEmpty => {
            }
            other => other?,
        }
    }
    Ok(())
}

/// Removes the directory of all pods' files if it is empty.
pub(crate) fn remove_parent() {
    let _ = fs::remove_dir(NETNS_ETC);
}

/// What the kubelet writes, for one address: the full name first, where the pod has one.
pub(crate) fn hosts(pod: &PodRef, named: &Named<'_>, ip: IpAddr, domain: &str) -> String {
    let hostname = named.hostname(pod);
    let full = named.subdomain.map(|subdomain| {
        let namespace = &pod.namespace;
        format!("{hostname}.{subdomain}.{namespace}.svc.{domain}\t")
    });
    format!(
        "# Written by vswitchd for pod {pod}.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n\
         {ip}\t{}{hostname}\n",
        full.unwrap_or_default()
    )
}

/// What a pod was named beside its own name.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Named<'a> {
    pub(crate) hostname: Option<&'a str>,
    pub(crate) subdomain: Option<&'a str>,
}

impl<'a> Named<'a> {
    pub(crate) fn of(spec: &'a PodSpec) -> Self {
        Self { hostname: spec.hostname.as_deref(), subdomain: spec.subdomain.as_deref() }
    }

    /// The one it was given, or else the pod's name, shortened to what a host name may be, as the kubelet does.
    pub(crate) fn hostname(&self, pod: &PodRef) -> String {
        let name = pod.name.as_str();
        let own = || name.get(..63).unwrap_or(name).trim_end_matches(['-', '.']);
        self.hostname.unwrap_or_else(own).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "shop".parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn hosts_names_the_pod_and_localhost() {
        let ip = "10.244.0.7".parse().unwrap();
        let text = hosts(&pod("web"), &Named::default(), ip, "cluster.local");
        assert!(text.contains("\n127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("\n10.244.0.7\tweb\n"), "{text}");
        let named = Named { hostname: Some("first"), subdomain: Some("db") };
        let text = hosts(&pod("web"), &named, ip, "cluster.local");
        assert!(text.ends_with("\n10.244.0.7\tfirst.db.shop.svc.cluster.local\tfirst\n"), "{text}");
    }

    #[test]
    fn a_long_name_is_shortened_to_a_valid_host_name() {
        let name = format!("{}.{}", "a".repeat(62), "b".repeat(40));
        assert_eq!(Named::default().hostname(&pod(&name)), "a".repeat(62));
    }
}
