//! What hyper does not see of a connection: a head that dribbles, and two lengths for one body.
//!
//! A request whose end could be read in two ways is refused (`400`, close), so that nobody in front
//! of us can be made to read it differently. hyper drops `Content-Length` where `Transfer-Encoding`
//! stands too; the guard still counts it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::listener::Peer;

const CONTENT_LENGTH: &[u8] = b"content-length";

/// What the guard and the service of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// A request's head came and its answer has not been made.
    in_request: AtomicBool,
    /// Lines that began with `Content-Length` so far.
    content_lengths: AtomicU32,
}

impl Watch {
    /// A head came; how many of its lines said `Content-Length`.
    pub(super) fn begin(&self) -> u32 {
        self.in_request.store(true, Ordering::Relaxed);
        self.content_lengths.swap(0, Ordering::Relaxed)
    }

    /// The answer is made, and the body it may have read is no head.
    pub(super) fn end(&self) {
        self.content_lengths.store(0, Ordering::Relaxed);
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
    /// How much of `content-length` the current line has begun with; none where it is another line.
    matched: Option<usize>,
}

impl<S> Guard<S> {
    pub(super) fn new(peer: Peer<S>, watch: Arc<Watch>, head_timeout: Duration) -> Self {
        let due = Some(Box::pin(tokio::time::sleep(head_timeout)));
        Self { peer, watch, head_timeout, due, matched: Some(0) }
    }

    pub(super) fn into_peer(self) -> Peer<S> {
        self.peer
    }

    fn scan(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.matched = Some(0);
            } else if let Some(matched) = self.matched {
                let is_same = CONTENT_LENGTH.get(matched) == Some(&byte.to_ascii_lowercase());
                self.matched = is_same.then_some(matched + 1);
                if is_same && matched + 1 == CONTENT_LENGTH.len() {
                    self.watch.content_lengths.fetch_add(1, Ordering::Relaxed);
                    self.matched = None;
                }
            }
        }
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
