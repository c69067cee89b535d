//! Calls to addresses: `mq-net`'s connections, with this crate's errors.

use std::sync::Arc;
use std::time::Duration;

use mq_net::{ClientOptions, ClientTls, Inbound, InvokeError, Remoting, TlsError};
use mq_remoting::Command;
use mq_remoting::code::response;
use tokio::sync::oneshot;

use crate::error::CallError;

/// Calls that may wait for a connection to come up, per address.
const WAITING_MAX: usize = 65_536;

/// The connections of a client.
#[derive(Debug)]
pub(crate) struct Transport {
    remoting: Remoting,
}

impl Transport {
    pub(crate) fn new(tls: ClientTls, inbound: Arc<dyn Inbound>) -> Result<Self, TlsError> {
        let options = ClientOptions {
            waiting_max: WAITING_MAX,
            tls,
            ..ClientOptions::default()
        };
        let remoting = Remoting::new(options, inbound)?;
        Ok(Self { remoting })
    }

    /// Sends a request and waits for the answer, whatever its code, except that of a server that stops: it has not served
    /// the request, and the next one is for somebody else.
    pub(crate) async fn call(
        &self,
        addr: &Arc<str>,
        command: Command,
        timeout: Duration,
    ) -> Result<Command, CallError> {
        let answer = self.remoting.invoke(addr, command, timeout).await;
        read_answer(addr, answer, timeout)
    }

    /// Sends a request now; the answer is waited for by whoever polls what is returned.
    pub(crate) fn start(
        &self,
        addr: &Arc<str>,
        command: Command,
        timeout: Duration,
    ) -> impl Future<Output = Result<Command, CallError>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        self.call_back(addr, command, timeout, |_, answer| {
            drop(sender.send(answer));
        });
        let addr = addr.clone();
        async move { receiver.await.unwrap_or(Err(CallError::Closed { addr })) }
    }

    /// Sends a request; `done` gets the answer on the connection's task and must not block.
    pub(crate) fn call_back(
        &self,
        addr: &Arc<str>,
        command: Command,
        timeout: Duration,
        done: impl FnOnce(Arc<str>, Result<Command, CallError>) + Send + 'static,
    ) {
        let whom = addr.clone();
        self.remoting.send_async(addr, command, timeout, move |answer| {
            let answer = read_answer(&whom, answer, timeout);
            done(whom, answer);
        });
    }

    /// Sends a request that wants no answer.
    pub(crate) async fn oneway(&self, addr: &Arc<str>, command: Command, timeout: Duration) -> Result<(), CallError> {
        let sent = self.remoting.oneway(addr, command, timeout).await;
        sent.map_err(|error| read_error(addr, error, timeout))
    }

    /// Closes the connection to an address: what waits for it fails.
    pub(crate) fn close(&self, addr: &str) {
        self.remoting.close(addr);
    }

    /// Closes all connections.
    pub(crate) fn shutdown(&self) {
        self.remoting.shutdown();
    }
}

fn read_answer(addr: &Arc<str>, answer: Result<Command, InvokeError>, after: Duration) -> Result<Command, CallError> {
    match answer {
        Ok(answer) if answer.code == response::GO_AWAY => Err(CallError::Connect {
            addr: addr.clone(),
            reason: "it is about to stop".to_owned(),
        }),
        answer => answer.map_err(|error| read_error(addr, error, after)),
    }
}

fn read_error(addr: &Arc<str>, error: InvokeError, after: Duration) -> CallError {
    let addr = addr.clone();
    match error {
        InvokeError::Connect { source, .. } => CallError::Connect {
            addr,
            reason: source.to_string(),
        },
        InvokeError::NotSent | InvokeError::TimedOut { sent: false } => CallError::Connect {
            addr,
            reason: error.to_string(),
        },
        InvokeError::Full => CallError::Busy { addr },
        InvokeError::Lost => CallError::Closed { addr },
        InvokeError::TimedOut { sent: true } => CallError::Timeout { addr, after },
    }
}
