//! A cluster of services as `vswitchd` tells of it, played on a socket.

use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use protocol::codec::{self, MAX_ADMIN_FRAME_BYTES};
use protocol::feed::{
    CHANGES_PER_RESPONSE, Changes, FeedChange, FeedPosition, NameChange, NameTarget, NamedPort, NamedService,
};
use protocol::link::Transport;
use protocol::message::{ReadRequest, Response};

/// How long a follower that has everything is let wait, as by `vswitchd`.
const PATIENCE: Duration = Duration::from_secs(1);

/// The address of a service.
pub(super) fn address(service: u32) -> IpAddr {
    let [_, _, high, low] = service.to_be_bytes();
    IpAddr::from([10, 96, high, low])
}

/// Tells whoever follows at `socket` of `services` services.
pub(super) fn play(socket: &Path, services: u32) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    let all = changes(services)?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // It ends with its follower.
            let _ = tell(stream, &all);
        }
    });
    Ok(())
}

fn changes(services: u32) -> Result<Vec<FeedChange>> {
    let namespace: protocol::name::Namespace = "default".parse()?;
    let mut all = vec![FeedChange::Name(NameChange::Namespace(namespace.clone()))];
    for service in 0..services {
        let ports = vec![NamedPort { name: None, transport: Transport::Tcp, number: 80 }];
        all.push(FeedChange::Name(NameChange::Service(NamedService {
            namespace: namespace.clone(),
            name: format!("s{service}").parse()?,
            target: NameTarget::Cluster { addresses: vec![address(service)], ports },
        })));
    }
    Ok(all)
}

fn tell(mut stream: UnixStream, all: &[FeedChange]) -> Result<()> {
    codec::read_preamble(&mut stream)?;
    codec::write_preamble(&mut stream)?;
    while let ReadRequest::Follow(request) = codec::read_frame(&mut stream, MAX_ADMIN_FRAME_BYTES)? {
        if request.after.is_some() {
            thread::sleep(PATIENCE);
        } else {
            for changes in all.chunks(CHANGES_PER_RESPONSE) {
                let changes = Changes { from_scratch: true, changes: changes.to_vec() };
                codec::write_frame(&mut stream, &Response::Changes(changes), MAX_ADMIN_FRAME_BYTES)?;
            }
        }
        let position = FeedPosition { instance: 1, sequence: 1 };
        codec::write_frame(&mut stream, &Response::Followed(position), MAX_ADMIN_FRAME_BYTES)?;
    }
    Ok(())
}
