//! The door of a server under test: lets connections in, or cuts them, those that are kept alive too.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;

/// Whether the server is away: the test's hand on the door.
#[derive(Clone)]
pub struct Gate {
    away: tokio::sync::watch::Sender<bool>,
    turned_away: Arc<AtomicU32>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { away: tokio::sync::watch::Sender::new(false), turned_away: Arc::default() }
    }
}

impl Gate {
    /// From now on every connection is cut before a word, or no longer.
    pub fn away(&self, away: bool) {
        self.away.send_replace(away);
    }

    /// Connections that were cut so.
    pub fn turned_away(&self) -> u32 {
        self.turned_away.load(Ordering::SeqCst)
    }
}

/// A listener with a gate.
pub struct Door {
    pub listener: TcpListener,
    pub gate: Gate,
}

impl axum::serve::Listener for Door {
    type Io = Guest;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Guest, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if *self.gate.away.borrow() {
                self.gate.turned_away.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let mut away = self.gate.away.subscribe();
            let gone = Box::pin(async move { away.wait_for(|away| *away).await.is_ok() });
            return (Guest { stream, gone }, address);
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that breaks when the server goes away.
pub struct Guest {
    stream: tokio::net::TcpStream,
    gone: BoxFuture<'static, bool>,
}

impl Guest {
    fn broken(&mut self, context: &mut Context<'_>) -> bool {
        self.gone.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.broken(context) {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
