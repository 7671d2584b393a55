//! The HTTP sockets: HTTPS, plain HTTP that only redirects, and the local socket with the same
//! router, whose callers are known by SO_PEERCRED.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::node::Node;
use super::places::{Place, Places};
use super::{Args, open_to_all};
use crate::node::Dirs;
use crate::store::events::{Event, Kind, Level};
use crate::tls::{self, Identity};
use crate::web::{self, Origin};

/// Connections at a time, over all network sockets.
const CONNECTIONS_MAX: usize = 512;
/// Connections at a time of one source, a host or what is behind one address.
const CONNECTIONS_EACH: usize = 128;
/// Connections at a time on the local socket.
const LOCAL_CONNECTIONS_MAX: usize = 64;
/// Time for a TLS handshake, and for a request's headers.
const PATIENCE: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

/// Opens the sockets and serves them in tasks.
pub async fn start(
    node: &Arc<Node>,
    router: Router,
    dirs: &Dirs,
    args: &Args,
) -> Result<(), Failure> {
    let https = listener("https", args.https)?;
    let http = listener("http", args.http)?;
    let path = dirs.run.join("serve.sock");
    let _ = std::fs::remove_file(&path);
    let local = UnixListener::bind(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    open_to_all(&path)?;
    // What cannot be used is said at the start.
    tls::https_config(&node.identity())?;
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_EACH);
    let handle = node.clone();
    tokio::spawn(serve_https(handle, https, router.clone(), places.clone()));
    tokio::spawn(serve_http(node.clone(), http, places));
    // Its own places: strangers on the network cannot lock root out.
    let places = Arc::new(Semaphore::new(LOCAL_CONNECTIONS_MAX));
    tokio::spawn(serve_local(node.clone(), local, router, places));
    Ok(())
}

fn listener(name: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let socket = match crate::sys::socket::inherited_listener(name)? {
        Some(socket) => socket,
        None => {
            let socket = std::net::TcpListener::bind(address)
                .map_err(|error| format!("cannot listen on {address}: {error}"))?;
            socket.set_nonblocking(true)?;
            socket
        }
    };
    Ok(TcpListener::from_std(socket)?)
}

async fn serve_https(node: Arc<Node>, listener: TcpListener, router: Router, places: Arc<Places>) {
    let mut current: Option<(Arc<Identity>, TlsAcceptor)> = None;
    loop {
        let Some((stream, source, place)) = arrived(&node, &listener, &places).await else {
            continue;
        };
        let identity = node.identity();
        if current
            .as_ref()
            .is_none_or(|(of, _)| !Arc::ptr_eq(of, &identity))
        {
            match tls::https_config(&identity) {
                Ok(config) => current = Some((identity, TlsAcceptor::from(config))),
                Err(error) => tracing::error!("{error}"),
            }
        }
        let Some((_, acceptor)) = current.clone() else {
            continue;
        };
        let (node, router) = (node.clone(), router.clone());
        tokio::spawn(async move {
            let _place = place;
            let _ = stream.set_nodelay(true);
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                connection(&node, stream, router, Origin::Remote(source)).await;
            }
        });
    }
}

/// The next connection, its source and its place; none where its source has too many.
async fn arrived(
    node: &Node,
    listener: &TcpListener,
    places: &Arc<Places>,
) -> Option<(TcpStream, IpAddr, Place)> {
    let free = places.free().await?;
    let Ok((stream, from)) = listener.accept().await else {
        // Out of descriptors: wait for some to be closed.
        tokio::time::sleep(Duration::from_millis(100)).await;
        return None;
    };
    let source = from.ip().to_canonical();
    let place = places.give(free, web::network(source));
    if place.is_none() {
        let text = format!("Refused a connection: {CONNECTIONS_EACH} from there are open");
        refused(node, source, text);
    }
    place.map(|place| (stream, source, place))
}

fn refused(node: &Node, source: IpAddr, text: String) {
    node.note(&Event {
        source: source.to_string(),
        ..Event::new(Kind::Input, Level::Warning, text)
    });
}

async fn serve_local(
    node: Arc<Node>,
    listener: UnixListener,
    router: Router,
    places: Arc<Semaphore>,
) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(user) = stream.peer_cred().map(|cred| cred.uid()) else {
            continue;
        };
        let (node, router) = (node.clone(), router.clone());
        tokio::spawn(async move {
            let _place = place;
            connection(&node, stream, router, Origin::Local(user)).await;
        });
    }
}

async fn connection<S>(node: &Node, stream: S, router: Router, origin: Origin)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(origin);
        router.clone().oneshot(request)
    });
    let result = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = result {
        // What is no HTTP, too large a head, or one that never ends; a mere hang-up is no news.
        if (error.is_parse() || error.is_timeout())
            && let Origin::Remote(from) = origin
        {
            refused(node, from, format!("Refused a connection: {error}"));
        }
        tracing::debug!("connection: {error}");
    }
}

async fn serve_http(node: Arc<Node>, listener: TcpListener, places: Arc<Places>) {
    loop {
        let Some((stream, _, place)) = arrived(&node, &listener, &places).await else {
            continue;
        };
        tokio::spawn(async move {
            let _place = place;
            let service = hyper::service::service_fn(|request| async move {
                Ok::<_, std::convert::Infallible>(redirect(&request))
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn redirect(request: &Request<hyper::body::Incoming>) -> Response<Body> {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    // The host is the caller's own word; only its name part is used, and only if it looks like one.
    let name = host.map(|host| {
        host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) {
                name
            } else {
                host
            }
        })
    });
    let fine = |name: &&str| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
            && !name.is_empty()
    };
    let mut response = Response::new(Body::empty());
    match name
        .filter(fine)
        .and_then(|name| format!("https://{name}/").parse().ok())
    {
        Some(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::store::Store;
    use crate::store::events::EventQuery;
    use crate::store::local::Local;

    fn alone(dir: &std::path::Path) -> Arc<Node> {
        let store = Store::open(dir, [1; 16], 7).unwrap();
        let local = Local::open(&dir.join("local.db")).unwrap();
        let identity = Identity::make("a", &[]).unwrap();
        let node = Node::new(
            store,
            local,
            identity,
            "a".into(),
            Vec::new(),
            dir.to_owned(),
        );
        Arc::new(node.unwrap())
    }

    /// What a stranger's octets are answered, and what the event log then says of them. Time
    /// passes as soon as everybody waits.
    async fn answered(octets: &[u8]) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let node = alone(dir.path());
        let router = web::router(node.clone());
        let (mut stranger, ours) = duplex(1 << 20);
        let from = Origin::Remote([192, 0, 2, 77].into());
        let theirs = async {
            stranger.write_all(octets).await.unwrap();
            let mut answer = Vec::new();
            stranger.read_to_end(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        };
        let (answer, ()) = tokio::join!(theirs, connection(&node, ours, router, from));
        let all = EventQuery {
            limit: 10,
            ..EventQuery::default()
        };
        let events = node.events.list(&all).unwrap();
        let lines = events
            .iter()
            .map(|event| format!("{} {}", event.source, event.text));
        (answer, lines.collect::<Vec<_>>().join("\n"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_given_up_with_a_line_in_the_event_log() {
        let (answer, log) = answered(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
        assert!(log.contains("192.0.2.77 Refused a connection"), "{log}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_beyond_its_bound_is_refused_with_a_line_in_the_event_log() {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ".to_vec();
        head.resize(200_000, b'a');
        let (answer, log) = answered(&head).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(log.contains("192.0.2.77 Refused a connection"), "{log}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_http_is_refused_with_a_line_in_the_event_log() {
        let (answer, log) = answered(b"\x00\xff\x16garbage\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(log.contains("192.0.2.77 Refused a connection"), "{log}");
    }
}
