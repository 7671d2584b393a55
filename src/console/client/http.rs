//! HTTP/1.1 over the local socket, one request at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Bytes, Frame};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

type Failure = Box<dyn std::error::Error>;
type Content = UnsyncBoxBody<Bytes, std::io::Error>;

/// A caller of `serve`'s REST interface.
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// Prepares; nothing is opened yet.
    pub fn new(socket: PathBuf) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { socket, runtime })
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, "application/json", full(Bytes::new()))
    }

    /// Any other method, with a JSON body (`Null`: none).
    pub fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.call(method, path, "application/json", full(text.into()))
    }

    /// POST of a whole file, read as it is sent.
    pub fn upload(&self, path: &str, file: &Path) -> Result<Value, Failure> {
        let file = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let body = UnsyncBoxBody::new(FileBody(file));
        self.call(Method::POST, path, "application/vnd.sqlite3", body)
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Content,
    ) -> Result<Value, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, kind)
            .body(body)?;
        self.runtime.block_on(async {
            let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
                format!(
                    "{}: {error}; is tutti serve running?",
                    self.socket.display()
                )
            })?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let response = sender.send_request(request).await?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            let answer: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
                Value::String(String::from_utf8_lossy(&bytes).trim().to_owned())
            });
            if status.is_success() {
                return Ok(answer);
            }
            let why = answer["error"]
                .as_str()
                .or(answer.as_str())
                .unwrap_or_default();
            Err(if why.is_empty() {
                status.to_string().into()
            } else {
                why.to_owned().into()
            })
        })
    }
}

fn full(bytes: Bytes) -> Content {
    UnsyncBoxBody::new(Full::new(bytes).map_err(|never| match never {}))
}

/// A file as a body. Reading blocks, which is fine for a command that does nothing else.
struct FileBody(File);

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let mut chunk = vec![0; 64 * 1024];
        Poll::Ready(match std::io::Read::read(&mut self.0, &mut chunk) {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some(Ok(Frame::data(chunk.into())))
            }
            Err(error) => Some(Err(error)),
        })
    }
}

/// A path segment, percent-encoded.
pub fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
