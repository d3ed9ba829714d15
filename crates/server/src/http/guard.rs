//! What hyper does not see of a connection: a head that dribbles, and two lengths for one body.
//!
//! A request whose end could be read in two ways is refused (`400`, close), so that nobody in front
//! of us can be made to read it differently. hyper drops `Content-Length` where `Transfer-Encoding`
//! stands too; the guard still knows of it ([`Heads`]).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::heads::{Heads, Lengths};
use super::listener::Peer;

/// What the guard and the service of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// A request's head came and its answer has not been made.
    in_request: AtomicBool,
    /// What heads say that came and are not handled.
    heads: Mutex<VecDeque<Lengths>>,
}

impl Watch {
    /// A head is handled; what it says of its body's length.
    pub(super) fn begin(&self) -> Lengths {
        self.in_request.store(true, Ordering::Relaxed);
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.pop_front().unwrap_or(Lengths::UNKNOWN)
    }

    /// The answer is made.
    pub(super) fn end(&self) {
        self.in_request.store(false, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Guard<S> {
    peer: Peer<S>,
    watch: Arc<Watch>,
    head_timeout: Duration,
    /// When the head that was begun must be complete.
    due: Option<Pin<Box<Sleep>>>,
    heads: Heads,
}

impl<S> Guard<S> {
    pub(super) fn new(peer: Peer<S>, watch: Arc<Watch>, head_timeout: Duration) -> Self {
        let due = Some(Box::pin(tokio::time::sleep(head_timeout)));
        Self { peer, watch, head_timeout, due, heads: Heads::default() }
    }

    pub(super) fn into_peer(self) -> Peer<S> {
        self.peer
    }

    fn scan(&mut self, bytes: &[u8]) {
        let Self { heads, watch, .. } = self;
        heads.scan(bytes, |lengths| {
            let mut heads = watch.heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.push_back(lengths);
        });
    }

    /// A head that was begun has a time to be complete, a request that is answered has not.
    fn check_time(&mut self, cx: &mut Context<'_>, got: usize) -> io::Result<()> {
        if self.watch.in_request.load(Ordering::Relaxed) {
            self.due = None;
            return Ok(());
        }
        if got > 0 && self.due.is_none() {
            self.due = Some(Box::pin(tokio::time::sleep_until(Instant::now() + self.head_timeout)));
        }
        if let Some(due) = &mut self.due
            && due.as_mut().poll(cx).is_ready()
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.peer.stream).poll_read(cx, buffer);
        if outcome.is_pending() {
            self.check_time(cx, 0)?;
        }
        ready!(outcome)?;
        let got = buffer.filled().get(before..).unwrap_or_default();
        self.scan(got);
        self.check_time(cx, got.len())?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.peer.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.peer.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.peer.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.peer.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.peer.stream).poll_write_vectored(cx, slices)
    }
}
