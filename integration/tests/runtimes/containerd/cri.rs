//! The part of the Container Runtime Interface that these tests speak, as a kubelet does. Numbers are those of
//! `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use prost::Message;
use tokio::runtime::{Builder, Runtime};

use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// A kubelet waits two minutes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(crate) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DnsConfig {
    #[prost(string, repeated, tag = "1")]
    pub(crate) servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) options: Vec<String>,
}

/// Of TCP, which is protocol 0.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PortMapping {
    #[prost(int32, tag = "1")]
    pub(crate) protocol: i32,
    #[prost(int32, tag = "2")]
    pub(crate) container_port: i32,
    #[prost(int32, tag = "3")]
    pub(crate) host_port: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    pub(crate) cgroup_parent: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) dns_config: Option<DnsConfig>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) port_mappings: Vec<PortMapping>,
    #[prost(map = "string, string", tag = "6")]
    pub(crate) labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(crate) linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

/// All requests that name one thing, and all answers that do.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sandboxes {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Id>,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct SandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<SandboxStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<SandboxNetwork>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxNetwork {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, repeated, tag = "2")]
    cmd: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncResponse {
    #[prost(bytes = "vec", tag = "1")]
    stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    exit_code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeCondition {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "4")]
    message: String,
}

/// A connection to a runtime.
pub(crate) struct Cri {
    runtime: Runtime,
    channel: Channel,
}

impl Cri {
    #[track_caller]
    pub(crate) fn connect(socket: &Path) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime for one thread");
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).expect("a path");
        let channel = runtime.block_on(endpoint.timeout(PATIENCE).connect());
        Self { channel: channel.unwrap_or_else(|error| panic!("{}: {error:?}", socket.display())), runtime }
    }

    /// A pod without containers of its user, whose network is up.
    pub(crate) fn run_sandbox(&self, config: &PodSandboxConfig) -> Result<String, Status> {
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        self.call::<_, Id>("RunPodSandbox", request).map(|answer| answer.id)
    }

    pub(crate) fn stop_sandbox(&self, sandbox: &str) -> Result<(), Status> {
        self.call::<_, Empty>("StopPodSandbox", Id { id: sandbox.to_owned() }).map(drop)
    }

    pub(crate) fn remove_sandbox(&self, sandbox: &str) -> Result<(), Status> {
        self.call::<_, Empty>("RemovePodSandbox", Id { id: sandbox.to_owned() }).map(drop)
    }

    /// All pods.
    pub(crate) fn sandboxes(&self) -> Vec<String> {
        let answer: Result<Sandboxes, Status> = self.call("ListPodSandbox", Empty {});
        answer.map(|answer| answer.items.into_iter().map(|item| item.id).collect()).unwrap_or_default()
    }

    /// The address that the runtime tells of a pod.
    #[track_caller]
    pub(crate) fn address(&self, sandbox: &str) -> String {
        let answer: SandboxStatusResponse =
            self.call("PodSandboxStatus", Id { id: sandbox.to_owned() }).expect("the sandbox's status");
        answer.status.and_then(|status| status.network).map(|network| network.ip).unwrap_or_default()
    }

    /// Starts a container in a pod: a script for its shell.
    #[track_caller]
    pub(crate) fn start_container(
        &self,
        sandbox: &str,
        config: &PodSandboxConfig,
        name: &str,
        script: &str,
    ) -> String {
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned() }),
            image: Some(ImageSpec { image: crate::image::IMAGE.to_owned() }),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(container),
            sandbox_config: Some(config.clone()),
        };
        let made: Id = self.call("CreateContainer", request).expect("the container is made");
        let _: Empty = self.call("StartContainer", made.clone()).expect("the container starts");
        made.id
    }

    /// Exit status and output of a script in a container.
    #[track_caller]
    pub(crate) fn exec(&self, container: &str, script: &str) -> (i32, String) {
        let cmd = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let request = ExecSyncRequest { container_id: container.to_owned(), cmd, timeout: 20 };
        let answer: ExecSyncResponse = self.call("ExecSync", request).expect("the script runs");
        let text = [answer.stdout, answer.stderr].concat();
        (answer.exit_code, String::from_utf8_lossy(&text).into_owned())
    }

    /// Why the runtime's network is not ready, if it is not.
    #[track_caller]
    pub(crate) fn network_problem(&self) -> Option<String> {
        let answer: StatusResponse = self.call("Status", Empty {}).expect("the runtime's status");
        let conditions = answer.status.map(|status| status.conditions).unwrap_or_default();
        let network = conditions.into_iter().find(|condition| condition.r#type == "NetworkReady");
        let network = network.expect("the runtime speaks of its network");
        (!network.status).then_some(network.message)
    }

    fn call<Q, A>(&self, method: &str, question: Q) -> Result<A, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}")).expect("a path");
        self.runtime.block_on(async {
            let mut client = tonic::client::Grpc::new(self.channel.clone());
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            client.unary(Request::new(question), path, codec).await.map(tonic::Response::into_inner)
        })
    }
}
