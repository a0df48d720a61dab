//! A gRPC service without a definition file: `web.Echo/Say` and the conversation `web.Echo/Talk`, whose messages are
//! `google.protobuf.StringValue`. Both ends are tonic's.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, ensure};
use hyper::body::Incoming;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::server::{StreamingService, UnaryService};
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

const SAY: &str = "/web.Echo/Say";
const TALK: &str = "/web.Echo/Talk";

type Codec = ProstCodec<String, String>;

/// Who answers.
struct Echo(&'static str);

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Ready<Result<tonic::Response<String>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        let said = request.into_inner();
        if said == "fail" {
            return ready(Err(Status::failed_precondition("asked to fail")));
        }
        ready(Ok(tonic::Response::new(format!("{} {said}", self.0))))
    }
}

/// Repeats what comes, as it comes.
struct Repeating(&'static str, Streaming<String>);

impl Stream for Repeating {
    type Item = Result<String, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let name = self.0;
        let next = Pin::new(&mut self.1).poll_next(context);
        next.map(|item| item.map(|message| message.map(|text| format!("{name} {text}"))))
    }
}

impl StreamingService<String> for Echo {
    type Response = String;
    type ResponseStream = Repeating;
    type Future = Ready<Result<tonic::Response<Repeating>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<String>>) -> Self::Future {
        ready(Ok(tonic::Response::new(Repeating(self.0, request.into_inner()))))
    }
}

pub(crate) async fn answer(name: &'static str, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut service = tonic::server::Grpc::new(Codec::default());
    match path.as_str() {
        SAY => service.unary(Echo(name), request).await,
        TALK => service.streaming(Echo(name), request).await,
        _ => Status::unimplemented(path).into_http(),
    }
}

/// Calls, and prints who answered.
pub(crate) async fn call(address: &str, authority: &str, count: usize) -> anyhow::Result<()> {
    let origin: Uri = format!("http://{authority}").parse()?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .origin(origin)
        .connect()
        .await
        .context("connecting")?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    let said: String = client
        .unary(tonic::Request::new("hello".to_owned()), PathAndQuery::from_static(SAY), Codec::default())
        .await
        .context("Say")?
        .into_inner();
    println!("{said}");
    client.ready().await?;
    let refused: Result<tonic::Response<String>, Status> = client
        .unary(tonic::Request::new("fail".to_owned()), PathAndQuery::from_static(SAY), Codec::default())
        .await;
    let status = refused.err().context("a call that fails must say so")?;
    ensure!(status.message() == "asked to fail", "the trailers are others: {status:?}");
    println!("{:?}", status.code());
    client.ready().await?;
    // The next message is sent when the one before has come back: a proxy that collects would hang.
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    sender.send("0".to_owned()).await?;
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let talking =
        client.streaming(tonic::Request::new(messages), PathAndQuery::from_static(TALK), Codec::default());
    let mut answers: Streaming<String> = talking.await.context("Talk")?.into_inner();
    for number in 0..count {
        let answer = answers.next().await.context("the conversation ended")??;
        ensure!(answer.ends_with(&format!(" {number}")), "{answer:?} is no answer to {number}");
        sender.send((number + 1).to_string()).await?;
    }
    drop(sender);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    println!("talked {count}");
    Ok(())
}
