//! Whatever can be said is understood: random messages through both codecs.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use protocol::codec::{self, CodecId, MAX_ADMIN_FRAME_BYTES};
use protocol::link::{
    ConfigDelta, DeviceKind, Envelope, FromDatapath, PeerConfig, PolicyChange, PortConfig, ToDatapath,
};
use protocol::message::{AdminRequest, CreatePod, Items, PodRef, Response};
use protocol::object::{
    Bandwidth, Container, ContainerState, ContainerStatus, DropCount, Exit, Flow, ObjectMeta, Pod, PodPhase,
    PodSpec, PodStatus, PortCounters, PortKind, PortState, Resources, RestartPolicy, Timestamp,
};
use protocol::{Mac, Namespace, ObjectName, Offloads, PeerId, PortId};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn name() -> impl Strategy<Value = ObjectName> {
    "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,8}){0,3}".prop_map(|text| text.parse().unwrap())
}

fn namespace() -> impl Strategy<Value = Namespace> {
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
}

fn pod_ref() -> impl Strategy<Value = PodRef> {
    (namespace(), name()).prop_map(|(namespace, name)| PodRef { namespace, name })
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[a-z]{1,10}", "[a-z0-9]{0,10}", 0..4)
}

fn resources() -> impl Strategy<Value = Resources> {
    (any::<Option<u32>>(), any::<Option<u64>>())
        .prop_map(|(cpu_millicores, memory_bytes)| Resources { cpu_millicores, memory_bytes })
}

fn restart_policy() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)]
}

fn words() -> impl Strategy<Value = Vec<String>> {
    vec(any::<String>(), 0..6)
}

fn exit() -> impl Strategy<Value = Exit> {
    (any::<i32>(), any::<Option<i32>>(), any::<u64>()).prop_map(|(code, signal, at)| Exit {
        code,
        signal,
        at: Timestamp(at),
    })
}

fn container_status() -> impl Strategy<Value = ContainerStatus> {
    let state = prop_oneof![
        any::<String>().prop_map(|reason| ContainerState::Waiting { reason }),
        any::<(u32, u64)>().prop_map(|(pid, at)| ContainerState::Running { pid, since: Timestamp(at) }),
        exit().prop_map(|exit| ContainerState::Terminated { exit }),
    ];
    (name(), state, any::<u32>(), option::of(exit())).prop_map(|(name, state, restart_count, last_exit)| {
        ContainerStatus { name, state, restart_count, last_exit }
    })
}

fn create_pod() -> impl Strategy<Value = CreatePod> {
    let identity = (pod_ref(), labels(), any::<Option<IpAddr>>(), option::of(mac()), any::<bool>());
    (identity, resources(), restart_policy(), words()).prop_map(
        |((pod, labels, ip, mac, port_security), resources, restart_policy, command)| CreatePod {
            pod,
            labels,
            ip,
            mac,
            port_security,
            resources,
            restart_policy,
            command,
            serving: protocol::object::Serving::default(),
            dns: protocol::object::PodDns::default(),
            hostname: None,
            subdomain: None,
            bandwidth: Bandwidth::default(),
        },
    )
}

fn metadata() -> impl Strategy<Value = ObjectMeta> {
    (name(), namespace(), any::<String>(), labels(), any::<u64>(), any::<u64>()).prop_map(
        |(name, namespace, uid, labels, created, resource_version)| ObjectMeta {
            name,
            namespace,
            uid,
            labels,
            creation_timestamp: Timestamp(created),
            resource_version,
        },
    )
}

fn spec() -> impl Strategy<Value = PodSpec> {
    let container = (name(), words()).prop_map(|(name, command)| Container { name, command });
    let placement = (any::<String>(), vec(any::<IpAddr>(), 0..3), mac(), any::<bool>());
    (placement, resources(), restart_policy(), vec(container, 0..3), bandwidth()).prop_map(
        |((node_name, pod_ips, mac, port_security), resources, restart_policy, containers, bandwidth)| {
            PodSpec {
                node_name,
                pod_ips,
                mac,
                port_security,
                resources,
                restart_policy,
                containers,
                serving: protocol::object::Serving::default(),
                dns: protocol::object::PodDns::default(),
                hostname: None,
                subdomain: None,
                bandwidth,
            }
        },
    )
}

fn pod() -> impl Strategy<Value = Pod> {
    let phase = prop_oneof![
        Just(PodPhase::Pending),
        Just(PodPhase::Running),
        Just(PodPhase::Succeeded),
        Just(PodPhase::Failed)
    ];
    let status = (
        phase,
        any::<Option<String>>(),
        any::<String>(),
        any::<Option<u32>>(),
        vec(container_status(), 0..3),
    )
        .prop_map(|(phase, message, netns, port, container_statuses)| PodStatus {
            phase,
            message,
            netns,
            port: port.map(PortId),
            container_statuses,
            ready: true,
        });
    (metadata(), spec(), status).prop_map(|(metadata, spec, status)| Pod { metadata, spec, status })
}

fn flow() -> impl Strategy<Value = Flow> {
    let ends = (any::<(IpAddr, u16)>(), any::<(IpAddr, u16)>());
    (any::<(u32, String)>(), any::<(u32, String)>(), any::<u8>(), ends, any::<(u64, u64, u64)>()).prop_map(
        |(ingress, egress, protocol, (source, destination), (frames, bytes, idle_ms))| Flow {
            ingress: PortId(ingress.0),
            ingress_name: ingress.1,
            egress: PortId(egress.0),
            egress_name: egress.1,
            protocol,
            source: source.0,
            source_port: source.1,
            destination: destination.0,
            destination_port: destination.1,
            frames,
            bytes,
            idle_ms,
            becomes: None,
        },
    )
}

fn counters() -> impl Strategy<Value = PortCounters> {
    let drops = vec((any::<String>(), any::<u64>()), 0..4).prop_map(|drops| {
        drops.into_iter().map(|(reason, frames)| DropCount { reason, frames }).collect::<Vec<_>>()
    });
    (any::<[u64; 12]>(), drops).prop_map(|(n, drops)| PortCounters {
        rx_frames: n[0],
        rx_bytes: n[1],
        forwarded: n[2],
        drops,
        tx_frames: n[3],
        tx_bytes: n[4],
        tx_refused: n[5],
        originated: n[6],
        delayed_frames: n[7],
        delayed_bytes: n[8],
        limited_frames: n[9],
        limited_bytes: n[10],
        pauses: n[11],
    })
}

fn bandwidth() -> impl Strategy<Value = Bandwidth> {
    any::<[Option<u64>; 4]>().prop_map(|[ingress_rate, ingress_burst, egress_rate, egress_burst]| Bandwidth {
        ingress_rate,
        ingress_burst,
        egress_rate,
        egress_burst,
    })
}

fn port_config() -> impl Strategy<Value = PortConfig> {
    let state = prop_oneof![
        Just(PortState::Closed),
        Just(PortState::Active),
        Just(PortState::Detached),
        Just(PortState::Quarantined)
    ];
    let device =
        prop_oneof![Just(DeviceKind::VnetTap), Just(DeviceKind::PlainTap), Just(DeviceKind::UdpTunnel)];
    let kind = prop_oneof![Just(PortKind::Pod), Just(PortKind::Gateway), Just(PortKind::Tunnel)];
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>(), any::<bool>(), bandwidth());
    (any::<String>(), kind, device, mac(), vec(any::<IpAddr>(), 0..3), state, numbers).prop_map(
        |(name, kind, device, mac, addresses, state, (id, offloads, ip_mtu, port_security, bandwidth))| {
            PortConfig {
                id: PortId(id),
                name,
                kind,
                device,
                offloads: Offloads(offloads),
                mac,
                addresses,
                ip_mtu,
                port_security,
                state,
                bandwidth,
            }
        },
    )
}

fn peer_config() -> impl Strategy<Value = PeerConfig> {
    let address = || any::<u32>().prop_map(Ipv4Addr::from_bits);
    let cidr = (address(), 0..=32u8).prop_map(|(ip, len)| IpNet::new(ip.into(), len).unwrap());
    let flags = (any::<u16>(), any::<bool>(), any::<bool>(), any::<bool>());
    (any::<u32>(), any::<String>(), address(), vec(cidr, 0..3), vec(any::<IpAddr>(), 0..3), mac(), flags)
        .prop_map(|(id, name, address, pod_cidrs, node_addresses, router_mac, flags)| {
            let (udp_port, keep_alive, has_pods, shares_policies) = flags;
            PeerConfig {
                id: PeerId(id),
                name,
                address,
                udp_port,
                pod_cidrs,
                node_addresses,
                router_mac,
                keep_alive,
                has_pods,
                shares_policies,
            }
        })
}

fn delta() -> impl Strategy<Value = ConfigDelta> {
    let ids = || vec(any::<u32>(), 0..4);
    let ports = || vec(port_config(), 0..3);
    (any::<u64>(), ids(), ports(), ports(), ids(), vec(peer_config(), 0..3), any::<bool>()).prop_map(
        |(epoch, detach, attach, update, forget_peers, peers, commit)| ConfigDelta {
            epoch,
            detach: detach.into_iter().map(PortId).collect(),
            node: None,
            attach,
            update,
            forget_peers: forget_peers.into_iter().map(PeerId).collect(),
            peers,
            reset_services: false,
            forget_services: Vec::new(),
            services: Vec::new(),
            backends: Vec::new(),
            reset_policies: false,
            policies: PolicyChange::default(),
            commit,
        },
    )
}

#[track_caller]
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) -> Result<(), TestCaseError> {
    for codec in [CodecId::Bincode, CodecId::Postcard] {
        let bytes = codec::encode_as(codec, message, MAX_ADMIN_FRAME_BYTES).unwrap();
        prop_assert_eq!(&codec::decode_as::<T>(codec, &bytes).unwrap(), message);
    }
    let mut frame = Vec::new();
    codec::write_frame(&mut frame, message, MAX_ADMIN_FRAME_BYTES).unwrap();
    prop_assert_eq!(&codec::read_frame::<T>(&mut frame.as_slice(), MAX_ADMIN_FRAME_BYTES).unwrap(), message);
    Ok(())
}

proptest! {
    // Fewer than usual: a message with all its fields takes long to make up.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_survive(create in create_pod()) {
        survives(&AdminRequest::CreatePod(Box::new(create)))?;
    }

    #[test]
    fn pods_survive(pods in vec(pod(), 0..4)) {
        survives(&Response::Items(Items::Pods(pods)))?;
    }

    #[test]
    fn pods_survive_as_json(pod in pod()) {
        let pod = Pod {
            metadata: ObjectMeta {
                // RFC 3339 ends with the year 9999.
                creation_timestamp: Timestamp(pod.metadata.creation_timestamp.0 % 253_402_300_800),
                ..pod.metadata
            },
            status: PodStatus { container_statuses: Vec::new(), ..pod.status },
            ..pod
        };
        let text = serde_json::to_string(&pod).unwrap();
        prop_assert_eq!(serde_json::from_str::<Pod>(&text).unwrap(), pod);
    }

    #[test]
    fn flows_survive(rows in vec(flow(), 0..8), next in any::<Option<u64>>(), id in any::<u64>()) {
        survives(&Envelope { id, body: FromDatapath::Flows { rows, next } })?;
    }

    #[test]
    fn counters_survive(rows in vec((any::<u32>().prop_map(PortId), counters()), 0..8)) {
        survives(&Envelope { id: 1, body: FromDatapath::Counters(rows) })?;
    }

    #[test]
    fn deltas_survive(delta in delta(), id in any::<u64>()) {
        survives(&Envelope { id, body: ToDatapath::Apply(delta) })?;
    }

    #[test]
    fn byte_streams_survive(bytes in vec(any::<u8>(), 0..5000)) {
        survives(&Response::Bytes(bytes))?;
    }
}
