//! DNS over UDP and TCP: answers what the zone holds, forwards the rest as raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

use super::zone::{Answer, Zone};

/// How long one upstream server gets.
const UPSTREAM: Duration = Duration::from_secs(2);
/// Largest answer sent over UDP, whatever the asker says (RFC 9715).
const UDP_MAX: u16 = 1232;

/// A server of one zone.
#[derive(Clone)]
pub struct Server {
    /// The zone as it is now.
    pub zone: watch::Receiver<Arc<Zone>>,
    /// Who is asked about everything else, in order.
    pub forward: Vec<SocketAddr>,
}

// === impl Server ===

impl Server {
    /// Serves until cancelled.
    pub async fn run(self, udp: UdpSocket, tcp: TcpListener) {
        let server = Arc::new(self);
        tokio::join!(Arc::clone(&server).over_udp(Arc::new(udp)), server.over_tcp(tcp));
    }

    async fn over_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut datagram = [0; 4096];
        loop {
            let Ok((length, peer)) = socket.recv_from(&mut datagram).await else { continue };
            let (server, socket, question) =
                (Arc::clone(&self), Arc::clone(&socket), datagram[..length].to_vec());
            tokio::spawn(async move {
                if let Some(answer) = server.answer(&question, false).await {
                    let _ = socket.send_to(&answer, peer).await;
                }
            });
        }
    }

    async fn over_tcp(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let server = Arc::clone(&self);
            tokio::spawn(async move {
                while let Ok(Ok(question)) =
                    tokio::time::timeout(Duration::from_secs(10), read(&mut stream)).await
                {
                    let Some(answer) = server.answer(&question, true).await else { break };
                    if write(&mut stream, &answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    }

    /// The answer to a message, or `None` when it deserves none.
    async fn answer(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let Ok(request) = Message::from_vec(question) else {
            // Too short for a header: nobody to answer. Else the header is echoed with an error.
            let id = u16::from_be_bytes([*question.first()?, *question.get(1)?]);
            return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
        };
        if request.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut response = Message::response(request.metadata.id, request.metadata.op_code);
        response.metadata.recursion_desired = request.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.add_queries(request.queries.iter().cloned());
        if let Some(edns) = &request.edns {
            let mut ours = Edns::new();
            ours.set_max_payload(edns.max_payload().clamp(512, UDP_MAX));
            response.set_edns(ours);
        }
        match request.queries.as_slice() {
            _ if request.metadata.op_code != OpCode::Query => {
                response.metadata.response_code = ResponseCode::NotImp;
            }
            [query] if query.query_class() == DNSClass::IN => {
                let zone = Arc::clone(&self.zone.borrow());
                match zone.answer(query) {
                    Answer::NotOurs => return self.forwarded(question, tcp, response).await,
                    answer => self.fill(&mut response, answer).await,
                }
            }
            _ => response.metadata.response_code = ResponseCode::FormErr,
        }
        encode(&response, request.max_payload().min(UDP_MAX), tcp)
    }

    async fn fill(&self, response: &mut Message, answer: Answer) {
        response.metadata.authoritative = true;
        match answer {
            Answer::Records(records) => {
                response.add_answers(records);
            }
            Answer::Alias { record, target, kind } => {
                response.add_answer(record);
                response.add_answers(self.resolve(Query::query(target, kind)).await);
            }
            Answer::Empty(soa) => {
                response.add_authority(soa);
            }
            Answer::NoSuchName(soa) => {
                response.metadata.response_code = ResponseCode::NXDomain;
                response.add_authority(soa);
            }
            Answer::NotOurs => response.metadata.response_code = ResponseCode::Refused,
        }
    }

    /// What an alias leads to: from this zone or from upstream.
    async fn resolve(&self, query: Query) -> Vec<Record<RData>> {
        let zone = Arc::clone(&self.zone.borrow());
        match zone.answer(&query) {
            Answer::Records(records) => records,
            Answer::NotOurs => {
                let mut message = Message::query();
                message.metadata.recursion_desired = true;
                message.add_query(query);
                let Ok(bytes) = message.to_vec() else { return Vec::new() };
                let Some(answer) = self.ask(&bytes, false).await else { return Vec::new() };
                Message::from_vec(&answer).map(|message| message.answers).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    async fn forwarded(&self, question: &[u8], tcp: bool, mut failed: Message) -> Option<Vec<u8>> {
        if let Some(answer) = self.ask(question, tcp).await {
            return Some(answer);
        }
        failed.metadata.response_code = ResponseCode::ServFail;
        encode(&failed, UDP_MAX, tcp)
    }

    /// The first answer of an upstream server.
    async fn ask(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        for &server in &self.forward {
            let asked = async {
                if tcp {
                    let mut stream = TcpStream::connect(server).await?;
                    write(&mut stream, question).await?;
                    return read(&mut stream).await;
                }
                let any: SocketAddr =
                    if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(server).await?;
                socket.send(question).await?;
                let mut answer = vec![0; 4096];
                let length = socket.recv(&mut answer).await?;
                answer.truncate(length);
                Ok(answer)
            };
            if let Ok(Ok(answer)) = tokio::time::timeout(UPSTREAM, asked).await
                && answer.get(..2) == question.get(..2)
            {
                return Some(answer);
            }
        }
        None
    }
}

/// The message's bytes; over UDP one that doesn't fit becomes an empty one that says so.
fn encode(message: &Message, limit: u16, tcp: bool) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    if tcp || bytes.len() <= usize::from(limit.max(512)) {
        return Some(bytes);
    }
    let mut cut = message.truncate();
    cut.metadata.message_type = MessageType::Response;
    cut.to_vec().ok()
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length =
        u16::try_from(message.len()).map_err(|_| std::io::Error::other("message over 65535 bytes"))?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
