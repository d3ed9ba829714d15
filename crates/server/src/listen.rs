//! Listening sockets: one for each shard on the same port, or one for the HTTP runtime.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port whose last connections linger is free; one that somebody listens on is not.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit both: a peer that vanished is noticed although nothing is sent to
    // it.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    Ok(socket)
}

/// One socket that listens on `address`.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, false)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// `count` sockets that share one port; the system spreads connections over them.
///
/// The first is bound alone, so that a port that another process listens on is an error although
/// that process would share it.
pub(crate) fn listen_shared(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let first = socket(address, false)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?;
    let bound = bound.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..count {
        let next = socket(bound, true)?;
        next.bind(&bound.into())?;
        sockets.push(next);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(sockets.into_iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn sockets_share_a_port_and_nobody_else_gets_it() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = listen_shared(any, 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert_eq!(listen_shared(address, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(listen(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // Every connection reaches one of them.
        let peers: Vec<_> = (0..32).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut accepted = 0;
        while accepted < peers.len() {
            let found = sockets.iter().filter(|socket| socket.accept().is_ok()).count();
            accepted += found;
        }
        drop(sockets);
        listen(address).unwrap();
    }
}
