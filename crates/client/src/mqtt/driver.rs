//! The task of one connection: between a [`Session`] and its socket, clock and callers.
//!
//! Reading, writing and calls go on side by side, so neither side can block the other. Everything
//! that grows has a limit: requests by the callers' permits, bytes to write by not taking calls,
//! messages by not reading the socket.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use bitts_mqtt::{PacketId, ReasonCode};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use super::error::{End, RequestError};
use super::options::{Answered, Disconnect, Filter, Message, Publish};
use super::session::{Output, Session, Ticket};

/// Bytes that wait to be written before no further call is taken.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// How long the last bytes may take to be written when the connection ends.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Who waits for an answer.
pub(super) struct Waiter {
    pub(super) reply: oneshot::Sender<Result<Answered, RequestError>>,
    /// Goes back when the request is done.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What a [`super::Client`] asks of its connection.
pub(super) enum Command {
    Publish(Publish, Waiter),
    Subscribe(Vec<Filter>, Option<u32>, Waiter),
    Unsubscribe(Vec<String>, Waiter),
    Acknowledge(PacketId, ReasonCode),
    Disconnect(Disconnect),
    Abort,
}

/// The ends of the channels that a connection holds.
pub(super) struct Channels {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) incoming: mpsc::Sender<Message>,
    pub(super) ended: watch::Sender<Option<End>>,
}

/// What happened next.
enum Step {
    Read(io::Result<usize>),
    /// So many bytes, or `None`: flushed.
    Written(io::Result<Option<usize>>),
    Command(Option<Command>),
    /// Room for a message, or nobody who wants one.
    Room,
    Time,
    /// Nobody is left who could ask or listen.
    Abandoned,
}

pub(super) struct Driver<S> {
    session: Session,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    channels: Channels,
    received: BytesMut,
    to_write: BytesMut,
    /// Whether the stream may hold bytes back, as TLS does.
    is_unflushed: bool,
    messages: VecDeque<Message>,
    waiters: HashMap<Ticket, Waiter>,
    last_ticket: Ticket,
    out: Output,
    has_callers: bool,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Driver<S> {
    /// `received` is what came behind CONNACK.
    pub(super) fn new(stream: S, session: Session, received: BytesMut, channels: Channels) -> Self {
        let (reader, writer) = split(stream);
        Self {
            session,
            reader,
            writer,
            channels,
            received,
            to_write: BytesMut::new(),
            is_unflushed: false,
            messages: VecDeque::new(),
            waiters: HashMap::new(),
            last_ticket: 0,
            out: Output::default(),
            has_callers: true,
        }
    }

    /// Runs until the connection ends, and says how.
    pub(super) async fn run(mut self) {
        self.take_received();
        loop {
            self.perform();
            if self.session.end().is_some() {
                break;
            }
            let step = self.step().await;
            self.apply(step);
        }
        self.close().await;
    }

    /// Hands out what the session asked for.
    fn perform(&mut self) {
        self.to_write.extend_from_slice(&self.out.bytes);
        self.out.bytes.clear();
        for (ticket, result) in self.out.done.drain(..) {
            if let Some(waiter) = self.waiters.remove(&ticket) {
                drop(waiter.permit);
                // Who does not wait any longer does not want to know.
                drop(waiter.reply.send(result));
            }
        }
        self.messages.append(&mut self.out.messages);
        while let Some(message) = self.messages.pop_front() {
            match self.channels.incoming.try_send(message) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(message)) => {
                    self.messages.push_front(message);
                    break;
                }
                // Nobody listens: acknowledged and dropped.
                Err(mpsc::error::TrySendError::Closed(_)) => self.messages.clear(),
            }
        }
    }

    /// Waits for the next thing that happens.
    async fn step(&mut self) -> Step {
        let is_reading = self.messages.is_empty();
        // While nothing is read, PINGRESP is not either.
        let deadline = self.session.deadline().filter(|_| is_reading || !self.session.is_pinging());
        let takes_commands = self.has_callers && self.to_write.len() < WRITE_BYTES_MAX;
        let Channels { commands, incoming, .. } = &mut self.channels;
        let is_writing = self.is_unflushed || !self.to_write.is_empty();
        let wait = sleep_until(deadline.unwrap_or_else(Instant::now).into());
        tokio::select! {
            read = self.reader.read_buf(&mut self.received), if is_reading => Step::Read(read),
            written = write(&mut self.writer, &self.to_write), if is_writing => {
                Step::Written(written)
            }
            command = commands.recv(), if takes_commands => Step::Command(command),
            _ = incoming.reserve(), if !is_reading => Step::Room,
            () = incoming.closed(), if !self.has_callers => Step::Abandoned,
            () = wait, if deadline.is_some() => Step::Time,
        }
    }

    fn apply(&mut self, step: Step) {
        let now = Instant::now();
        match step {
            Step::Read(Ok(0)) => self.session.finish(End::Closed, &mut self.out),
            Step::Read(Ok(_)) => self.take_received(),
            Step::Written(Ok(None)) => self.is_unflushed = false,
            Step::Written(Ok(Some(0))) => {
                self.session.finish(End::Network(io::ErrorKind::WriteZero), &mut self.out);
            }
            Step::Written(Ok(Some(bytes))) => {
                self.to_write.advance(bytes);
                self.is_unflushed = true;
            }
            // A server may send DISCONNECT and close: what it sent says more than our failed write.
            Step::Written(Err(error)) => self.write_failed(&error),
            Step::Read(Err(error)) => {
                self.session.finish(network_end(&error), &mut self.out);
            }
            Step::Command(Some(command)) => self.on_command(now, command),
            Step::Command(None) => self.has_callers = false,
            Step::Room => {
                self.perform();
                if self.messages.is_empty() {
                    self.session.resume_reading(now);
                }
            }
            Step::Time => self.session.tick(now, &mut self.out),
            Step::Abandoned => self.session.finish(End::Aborted, &mut self.out),
        }
    }

    fn take_received(&mut self) {
        let used = self.session.receive(Instant::now(), &self.received, &mut self.out);
        self.received.advance(used);
    }

    /// Nothing more can be written; reading goes on to the end of what the server sent.
    fn write_failed(&mut self, error: &io::Error) {
        self.to_write.clear();
        self.is_unflushed = false;
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            self.session.finish(network_end(error), &mut self.out);
        }
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Publish(publish, waiter) => {
                let ticket = self.ticket(waiter);
                self.session.publish(now, ticket, publish, &mut self.out);
            }
            Command::Subscribe(filters, identifier, waiter) => {
                let ticket = self.ticket(waiter);
                self.session.subscribe(now, ticket, (&filters, identifier), &mut self.out);
            }
            Command::Unsubscribe(filters, waiter) => {
                let ticket = self.ticket(waiter);
                self.session.unsubscribe(now, ticket, &filters, &mut self.out);
            }
            Command::Acknowledge(id, reason_code) => {
                self.session.acknowledge(now, id, reason_code, &mut self.out);
            }
            Command::Disconnect(disconnect) => {
                self.session.disconnect(now, &disconnect, &mut self.out);
            }
            Command::Abort => {
                self.session.finish(End::Aborted, &mut self.out);
                self.to_write.clear();
            }
        }
    }

    fn ticket(&mut self, waiter: Waiter) -> Ticket {
        self.last_ticket += 1;
        self.waiters.insert(self.last_ticket, waiter);
        self.last_ticket
    }

    /// Writes what is left, closes, and tells who asks how it ended.
    async fn close(mut self) {
        let last = async {
            self.writer.write_all(&self.to_write).await?;
            self.writer.shutdown().await
        };
        // The connection is over either way.
        drop(timeout(LAST_WRITE_TIMEOUT, last).await);
        drop(self.reader);
        drop(self.writer);
        let Channels { commands, incoming, ended } = self.channels;
        ended.send_replace(self.session.end().cloned());
        drop(commands);
        // Messages that were acknowledged are delivered before `Incoming` ends.
        for message in self.messages {
            if incoming.send(message).await.is_err() {
                break;
            }
        }
    }
}

/// Writes what it can, or flushes where there is nothing to write.
async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<Option<usize>> {
    if bytes.is_empty() {
        writer.flush().await.map(|()| None)
    } else {
        writer.write(bytes).await.map(Some)
    }
}

fn network_end(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => End::Closed,
        kind => End::Network(kind),
    }
}
