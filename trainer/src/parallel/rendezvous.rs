//! How the ranks find each other: rank 0 listens at `MASTER_ADDR:MASTER_PORT`, the others connect, and once all are there each
//! gets rank 0's message (for NCCL its unique id). The connections stay open, so that a rank that goes away is noticed.
//!
//! All numbers are little-endian. A rank sends `MAGIC`, its rank and the world size (u32 each) and the SHA-256 of its settings.
//! Rank 0 answers `MAGIC`, a byte, 0 for a welcome or 1 for a refusal, a length (u32) and as many bytes: the message or the
//! reason. Then both send a `BEAT` every few seconds, and a `GOODBYE` when they are done.
//!
//! Nothing here is secret or authenticated: like torchrun's, the port belongs on a network that is trusted. A stranger's
//! connection does not stop the ranks from meeting.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::Launch;
use crate::{Error, Result};

/// How long the ranks wait for each other: a cluster starts its processes minutes apart.
pub const TIMEOUT: Duration = Duration::from_secs(300);

const MAGIC: [u8; 8] = *b"unbraid1";
const HELLO: usize = MAGIC.len() + 4 + 4 + 32;
/// Longer answers are no answer of rank 0.
const LONGEST_ANSWER: u32 = 4096;
/// What one connection may take to say hello, while others wait.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

const BEAT: u8 = b'.';
const GOODBYE: u8 = b'b';
/// How often a rank says that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Silence after which a rank is given up: a machine that lost its power closes no connection.
const SILENCE: Duration = Duration::from_secs(60);

/// The ranks together.
#[derive(Debug)]
pub struct Meeting {
    launch: Launch,
    /// Rank 0's message.
    pub message: Vec<u8>,
    /// The others at rank 0, rank 0 at the others.
    links: Vec<(usize, TcpStream)>,
}

/// Meets the other ranks; rank 0 says `message()` to all. `settings` has to be the same on all ranks.
///
/// # Errors
/// The port cannot be used, a rank did not come before `timeout`, or one has other settings.
pub fn meet(
    launch: &Launch,
    settings: &[u8],
    message: impl FnOnce() -> Result<Vec<u8>>,
    timeout: Duration,
) -> Result<Meeting> {
    if launch.rank == 0 {
        host(listen(launch)?, launch, settings, message, timeout)
    } else {
        join(launch, settings, timeout)
    }
}

/// Listens at rank 0's port, on the loopback interface alone if `MASTER_ADDR` is there.
fn listen(launch: &Launch) -> Result<TcpListener> {
    let name = format!("{}:{}", launch.master_address, launch.master_port);
    let refused = |e: std::io::Error| error(launch, format!("MASTER_ADDR:MASTER_PORT {name}: {e}"));
    let address = (launch.master_address.as_str(), launch.master_port)
        .to_socket_addrs()
        .map_err(refused)?
        .next()
        .ok_or_else(|| error(launch, format!("MASTER_ADDR:MASTER_PORT {name}: the name has no address")))?;
    // The name may be that of a Service or of another interface, which this process cannot bind.
    let bound = match address.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    TcpListener::bind(SocketAddr::new(bound, launch.master_port))
        .map_err(|e| error(launch, format!("MASTER_PORT = {}: cannot listen there: {e}", launch.master_port)))
}

/// Rank 0's side of the meeting.
fn host(
    listener: TcpListener,
    launch: &Launch,
    settings: &[u8],
    message: impl FnOnce() -> Result<Vec<u8>>,
    timeout: Duration,
) -> Result<Meeting> {
    let settings = Sha256::digest(settings);
    let io = |e: std::io::Error| error(launch, format!("waiting for the other ranks: {e}"));
    listener.set_nonblocking(true).map_err(io)?;
    let start = Instant::now();
    let mut ranks: Vec<Option<TcpStream>> = (1..launch.world_size).map(|_| None).collect();
    let mut refused = None;
    loop {
        // One that died while it waited for the others is not there.
        for link in &mut ranks {
            link.take_if(|link| is_closed(link));
        }
        if ranks.iter().all(Option::is_some) {
            break;
        }
        if start.elapsed() > timeout {
            let missing = (1..launch.world_size).zip(&ranks).filter(|(_, link)| link.is_none());
            let missing: Vec<_> = missing.map(|(rank, _)| rank.to_string()).collect();
            let mut reason =
                format!("rank {} did not come within {} s", missing.join(", rank "), timeout.as_secs_f32());
            if let Some(refused) = refused {
                reason.push_str(&format!("; refused: {refused}"));
            }
            ranks.into_iter().flatten().for_each(|mut link| drop(answer(&mut link, 1, reason.as_bytes())));
            return Err(error(launch, reason));
        }
        let mut link = match listener.accept() {
            Ok((link, _)) => link,
            // Nobody is there, or went away before it was accepted.
            Err(_) => {
                thread::sleep(PAUSE);
                continue;
            }
        };
        let Some(hello) = hello(&mut link) else { continue };
        let rank = u32_at(&hello, 8) as usize;
        let world_size = u32_at(&hello, 12) as usize;
        let reason = if world_size != launch.world_size {
            format!("rank {rank} has WORLD_SIZE = {world_size}, rank 0 has {}", launch.world_size)
        } else if !(1..world_size).contains(&rank) {
            format!("RANK = {rank}: expected 1 to {}; rank 0 is there already", world_size - 1)
        } else if ranks[rank - 1].as_ref().is_some_and(|link| !is_closed(link)) {
            format!("two processes have RANK = {rank}")
        } else if hello[16..] != settings[..] {
            format!("rank {rank} was started with other settings than rank 0")
        } else {
            ranks[rank - 1] = Some(link);
            continue;
        };
        drop(answer(&mut link, 1, reason.as_bytes()));
        refused = Some(reason);
    }
    let links: Vec<_> = (1..launch.world_size).zip(ranks.into_iter().flatten()).collect();
    let message = message()?;
    for (rank, link) in &links {
        answer(&mut &*link, 0, &message).map_err(|e| error(launch, format!("rank {rank} went away: {e}")))?;
    }
    Ok(Meeting { launch: launch.clone(), message, links })
}

/// Whether the other side went away; a rank that was started again may take its place.
fn is_closed(link: &TcpStream) -> bool {
    let closed = link.set_nonblocking(true).and_then(|()| match link.peek(&mut [0]) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
        found => found.map(|n| n == 0),
    });
    closed.unwrap_or(true) || link.set_nonblocking(false).is_err()
}

/// The first bytes of a rank; none if they are not a rank's.
fn hello(link: &mut TcpStream) -> Option<[u8; HELLO]> {
    link.set_nonblocking(false).ok()?;
    link.set_nodelay(true).ok()?;
    let mut bytes = [0; HELLO];
    read_by(link, &mut bytes, Instant::now() + HELLO_TIMEOUT).ok()?;
    bytes.starts_with(&MAGIC).then_some(bytes)
}

/// The side of all ranks but 0.
fn join(launch: &Launch, settings: &[u8], timeout: Duration) -> Result<Meeting> {
    let mut hello = Vec::with_capacity(HELLO);
    hello.extend(MAGIC);
    hello.extend((launch.rank as u32).to_le_bytes());
    hello.extend((launch.world_size as u32).to_le_bytes());
    hello.extend(Sha256::digest(settings));
    let deadline = Instant::now() + timeout;
    loop {
        let failed = match attempt(launch, &hello, deadline) {
            Ok((0, message, link)) => return Ok(Meeting { launch: launch.clone(), message, links: vec![(0, link)] }),
            Ok((_, reason, _)) => {
                return Err(error(launch, format!("refused by rank 0: {}", String::from_utf8_lossy(&reason))));
            }
            Err(e) => e,
        };
        // Rank 0 may start later, and its name be known later.
        if Instant::now() + PAUSE > deadline {
            let place = format!("{}:{}", launch.master_address, launch.master_port);
            let seconds = timeout.as_secs_f32();
            return Err(error(launch, format!("rank 0 did not answer at {place} within {seconds} s: {failed}")));
        }
        thread::sleep(PAUSE);
    }
}

/// One connection to rank 0: the first byte of its answer and the rest.
fn attempt(launch: &Launch, hello: &[u8], deadline: Instant) -> std::io::Result<(u8, Vec<u8>, TcpStream)> {
    let invalid = || std::io::Error::new(ErrorKind::InvalidData, "something else listens there");
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (launch.master_address.as_str(), launch.master_port).to_socket_addrs()? {
        let mut link = match TcpStream::connect_timeout(&address, remaining(deadline).min(Duration::from_secs(10))) {
            Ok(link) => link,
            Err(e) => {
                last = e;
                continue;
            }
        };
        link.set_nodelay(true)?;
        link.write_all(hello)?;
        let mut head = [0; MAGIC.len() + 5];
        // Rank 0 tells by itself when it gives up, a little later if it started later.
        read_by(&mut link, &mut head, deadline + HELLO_TIMEOUT)?;
        let length = u32_at(&head, 9);
        if !head.starts_with(&MAGIC) || head[8] > 1 || length > LONGEST_ANSWER {
            return Err(invalid());
        }
        let mut text = vec![0; length as usize];
        read_by(&mut link, &mut text, deadline + HELLO_TIMEOUT)?;
        return Ok((head[8], text, link));
    }
    Err(last)
}

fn answer(link: &mut impl Write, verdict: u8, text: &[u8]) -> std::io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(verdict);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    link.write_all(&bytes)
}

/// Fills `bytes` before `deadline`, however slowly they trickle in.
fn read_by(link: &mut TcpStream, bytes: &mut [u8], deadline: Instant) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        link.set_read_timeout(Some(remaining(deadline)))?;
        match link.read(&mut bytes[filled..]) {
            Ok(0) => return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed")),
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if is_timeout(&e) => {
                if Instant::now() >= deadline {
                    return Err(std::io::Error::new(ErrorKind::TimedOut, "no answer"));
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Sockets refuse a timeout of nothing.
fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes([bytes[place], bytes[place + 1], bytes[place + 2], bytes[place + 3]])
}

fn error(launch: &Launch, reason: String) -> Error {
    Error::Rank { rank: launch.rank, world_size: launch.world_size, reason }
}

impl Meeting {
    /// Watches the connections from now on; `lost` gets a sentence when a rank is gone without a goodbye.
    ///
    /// Rank 0 sees all others, they see rank 0: when one is gone, rank 0 ends, and so do the others.
    ///
    /// # Errors
    /// The system gives no thread or refuses a setting of a connection.
    pub fn watch(self, lost: impl Fn(&str) + Send + Sync + 'static) -> Result<Watch> {
        let failed = |e: std::io::Error| error(&self.launch, format!("watching the other ranks: {e}"));
        let state = Arc::new(AtomicU8::new(WATCHING));
        let lost = Arc::new(lost);
        let mut threads = Vec::new();
        for (rank, link) in &self.links {
            let (rank, link) = (*rank, link.try_clone().map_err(failed)?);
            link.set_read_timeout(Some(Duration::from_millis(200))).map_err(failed)?;
            link.set_write_timeout(Some(SILENCE)).map_err(failed)?;
            let (state, lost, launch) = (Arc::clone(&state), Arc::clone(&lost), self.launch.clone());
            let thread = thread::Builder::new().name(format!("rank {rank}"));
            let watch = move || {
                let watched = watch_link(link, &state);
                if let (Err(e), WATCHING) = (watched, state.load(Ordering::Acquire)) {
                    lost(&error(&launch, format!("rank {rank} is gone: {e}")).to_string());
                }
            };
            threads.push(thread.spawn(watch).map_err(failed)?);
        }
        Ok(Watch { state, threads, links: self.links })
    }
}

/// Returns after a goodbye from either side.
fn watch_link(mut link: TcpStream, state: &AtomicU8) -> std::io::Result<()> {
    let (mut heard, mut said) = (Instant::now(), Instant::now());
    let mut bytes = [0; 64];
    loop {
        match state.load(Ordering::Acquire) {
            WATCHING => {}
            DONE => return link.write_all(&[GOODBYE]),
            _ => return Ok(()),
        }
        if said.elapsed() >= BEAT_EVERY {
            link.write_all(&[BEAT])?;
            said = Instant::now();
        }
        match link.read(&mut bytes) {
            Ok(0) => return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "its connection was closed")),
            Ok(n) if bytes[..n].contains(&GOODBYE) => return Ok(()),
            Ok(_) => heard = Instant::now(),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if is_timeout(&e) => {
                if heard.elapsed() > SILENCE {
                    let text = format!("nothing was heard of it for {} s", SILENCE.as_secs());
                    return Err(std::io::Error::new(ErrorKind::TimedOut, text));
                }
            }
            Err(e) => return Err(e),
        }
    }
}

// The states of a watch.
const WATCHING: u8 = 0;
const DONE: u8 = 1;
const DROPPED: u8 = 2;

/// Keeps an eye on the other ranks. Dropped without [`Watch::goodbye`], it looks to them as if this rank had died.
#[derive(Debug)]
pub struct Watch {
    state: Arc<AtomicU8>,
    threads: Vec<thread::JoinHandle<()>>,
    links: Vec<(usize, TcpStream)>,
}

impl Watch {
    /// Tells the others that this rank is done, and stops watching.
    pub fn goodbye(mut self) {
        self.state.store(DONE, Ordering::Release);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.state.swap(DROPPED, Ordering::AcqRel) == WATCHING {
            // The threads hold the connections too, so that closing these would not do.
            self.links.iter().for_each(|(_, link)| drop(link.shutdown(Shutdown::Both)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const SOON: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(60);

    /// A listener of rank 0 and what each rank was launched with.
    fn ranks(world_size: usize) -> (TcpListener, Vec<Launch>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let launch = |rank| Launch {
            rank,
            world_size,
            local_rank: None,
            master_address: "127.0.0.1".into(),
            master_port: listener.local_addr().unwrap().port(),
        };
        let launches = (0..world_size).map(launch).collect();
        (listener, launches)
    }

    fn message() -> Result<Vec<u8>> {
        Ok(b"the id".to_vec())
    }

    /// All ranks, met.
    fn met(world_size: usize) -> Vec<Meeting> {
        let (listener, launches) = ranks(world_size);
        thread::scope(|scope| {
            let others: Vec<_> = launches[1..].iter().map(|launch| scope.spawn(|| join(launch, b"s", LONG))).collect();
            let first = host(listener, &launches[0], b"s", message, LONG).unwrap();
            std::iter::once(first).chain(others.into_iter().map(|t| t.join().unwrap().unwrap())).collect()
        })
    }

    #[test]
    fn all_ranks_get_rank_0s_message() {
        for meeting in met(5) {
            assert_eq!(meeting.message, b"the id");
            assert_eq!(meeting.links.len(), if meeting.launch.rank == 0 { 4 } else { 1 });
        }
    }

    #[test]
    fn the_environments_address_is_where_they_meet() {
        // A free port, let go again for rank 0 to take.
        let (listener, mut launches) = ranks(2);
        drop(listener);
        launches.iter_mut().for_each(|launch| launch.master_address = "localhost".into());
        thread::scope(|scope| {
            // Rank 1 comes first and has to wait for rank 0.
            let second = scope.spawn(|| meet(&launches[1], b"s", || unreachable!(), LONG));
            thread::sleep(SOON);
            meet(&launches[0], b"s", message, LONG).unwrap();
            assert_eq!(second.join().unwrap().unwrap().message, b"the id");
        });
    }

    #[test]
    fn a_port_in_use_is_an_error_at_once() {
        let (_listener, launches) = ranks(2);
        let error = meet(&launches[0], b"s", message, LONG).unwrap_err().to_string();
        assert!(error.starts_with("rank 0 of 2: MASTER_PORT = "), "{error}");
    }

    #[test]
    fn the_ranks_that_are_missing_are_named() {
        let (listener, launches) = ranks(4);
        thread::scope(|scope| {
            let there = scope.spawn(|| join(&launches[2], b"s", LONG));
            let error = host(listener, &launches[0], b"s", message, SOON).unwrap_err().to_string();
            assert_eq!(error, "rank 0 of 4: rank 1, rank 3 did not come within 0.3 s");
            let error = there.join().unwrap().unwrap_err().to_string();
            assert_eq!(error, "rank 2 of 4: refused by rank 0: rank 1, rank 3 did not come within 0.3 s");
        });
    }

    #[test]
    fn a_missing_rank_0_is_an_error_with_its_place() {
        let (listener, launches) = ranks(2);
        drop(listener);
        let error = join(&launches[1], b"s", SOON).unwrap_err().to_string();
        let port = launches[1].master_port;
        assert!(
            error.starts_with(&format!("rank 1 of 2: rank 0 did not answer at 127.0.0.1:{port} within 0.3 s")),
            "{error}"
        );
    }

    #[test]
    fn ranks_of_another_run_are_refused_and_told_why() {
        let (listener, launches) = ranks(3);
        let first = &launches[0];
        thread::scope(|scope| {
            let host = scope.spawn(|| host(listener, first, b"s", message, LONG));
            let refused = |launch: &Launch, settings: &[u8]| join(launch, settings, LONG).unwrap_err().to_string();
            let wider = Launch { world_size: 4, ..launches[1].clone() };
            assert_eq!(
                refused(&wider, b"s"),
                "rank 1 of 4: refused by rank 0: rank 1 has WORLD_SIZE = 4, rank 0 has 3"
            );
            assert!(refused(&launches[1], b"other").ends_with("rank 1 was started with other settings than rank 0"));
            assert!(refused(first, b"s").ends_with("RANK = 0: expected 1 to 2; rank 0 is there already"));
            // The right ones still meet.
            let second = scope.spawn(|| join(&launches[1], b"s", LONG));
            let third = scope.spawn(|| join(&launches[2], b"s", LONG));
            assert!(second.join().unwrap().is_ok() && third.join().unwrap().is_ok());
            assert!(host.join().unwrap().is_ok());
        });
    }

    /// Says hello as rank 1 of `world_size` and leaves the answer unread.
    fn knock(launch: &Launch) -> TcpStream {
        let mut link = TcpStream::connect((launch.master_address.as_str(), launch.master_port)).unwrap();
        let mut hello = MAGIC.to_vec();
        hello.extend(1u32.to_le_bytes());
        hello.extend((launch.world_size as u32).to_le_bytes());
        hello.extend(Sha256::digest(b"s"));
        link.write_all(&hello).unwrap();
        link
    }

    #[test]
    fn a_second_rank_of_the_same_number_is_refused_while_the_first_lives() {
        let (listener, launches) = ranks(3);
        thread::scope(|scope| {
            let host = scope.spawn(|| host(listener, &launches[0], b"s", message, LONG));
            let living = knock(&launches[1]);
            let error = join(&launches[1], b"s", LONG).unwrap_err().to_string();
            assert!(error.ends_with("refused by rank 0: two processes have RANK = 1"), "{error}");
            // It dies. The others alone are not all of them, and one that was started again takes its place.
            drop(living);
            let third = scope.spawn(|| join(&launches[2], b"s", LONG));
            thread::sleep(SOON);
            let again = scope.spawn(|| join(&launches[1], b"s", LONG));
            assert!(again.join().unwrap().is_ok() && third.join().unwrap().is_ok());
            assert!(host.join().unwrap().is_ok());
        });
    }

    #[test]
    fn strangers_do_not_keep_the_ranks_apart() {
        let (listener, launches) = ranks(2);
        let address = listener.local_addr().unwrap();
        thread::scope(|scope| {
            let host = scope.spawn(|| host(listener, &launches[0], b"s", message, LONG));
            let mut web = TcpStream::connect(address).unwrap();
            web.write_all(b"GET / HTTP/1.1\r\nHost: unbraid\r\nAccept: text/html, */*\r\n\r\n").unwrap();
            drop(TcpStream::connect(address).unwrap());
            let _silent = TcpStream::connect(address).unwrap();
            assert_eq!(join(&launches[1], b"s", LONG).unwrap().message, b"the id");
            host.join().unwrap().unwrap();
        });
    }

    #[test]
    fn something_else_at_rank_0s_port_is_no_rank_0() {
        let (listener, launches) = ranks(2);
        thread::spawn(move || {
            while let Ok((mut link, _)) = listener.accept() {
                drop(link.write_all(b"220 mail.example.org ESMTP ready"));
                // Closing with unread bytes would take the greeting away.
                drop(link.read(&mut [0; HELLO]));
            }
        });
        let error = join(&launches[1], b"s", SOON).unwrap_err().to_string();
        assert!(error.ends_with("something else listens there"), "{error}");
    }

    /// A watch and the sentences that it hands over.
    fn watched(meeting: Meeting) -> (Watch, Receiver<String>) {
        let (sender, sentences) = channel();
        let watch = meeting.watch(move |sentence| sender.send(sentence.to_owned()).unwrap()).unwrap();
        (watch, sentences)
    }

    #[test]
    fn a_rank_that_goes_away_is_noticed_and_one_that_is_done_is_not() {
        let mut watches: Vec<_> = met(3).into_iter().map(watched).collect();
        let (died, died_sentences) = watches.pop().unwrap();
        let (done, done_sentences) = watches.pop().unwrap();
        let (_first, sentences) = watches.pop().unwrap();
        done.goodbye();
        drop(died);
        let sentence = sentences.recv_timeout(LONG).unwrap();
        assert!(sentence.starts_with("rank 0 of 3: rank 2 is gone: "), "{sentence}");
        // Those that left hear nothing about it, and nobody hears of the one that was done.
        assert!(died_sentences.recv_timeout(LONG).is_err() && done_sentences.recv_timeout(LONG).is_err());
        assert!(sentences.recv_timeout(SOON).is_err());
    }
}
