//! What administrators' tools ask (RocketMQ's mqadmin and dashboard, and our own): one file per subject.
//!
//! Bodies are RocketMQ's JSON (`mq_remoting::body`); the order of checks and the remarks follow its `AdminBrokerProcessor`.

pub mod broker;
pub mod consumers;
pub mod groups;
pub mod progress;
pub mod raft;
pub mod topics;

use crate::ask::{Refusal, Reply};
use crate::request::Request;
use mq_remoting::code::response;
use mq_remoting::{Command, Header, body};
use serde::Serialize;

/// The typed header, or an answer that says what is wrong with it.
fn header<H: Header>(request: &Request) -> Option<H> {
    match request.command.header() {
        Ok(header) => Some(header),
        Err(error) => {
            request.fail(response::SYSTEM_ERROR, format!("decode command header: {error}"));
            None
        }
    }
}

/// The typed body, or an answer that says what is wrong with it.
fn body<T: serde::de::DeserializeOwned>(request: &Request) -> Option<T> {
    match body::from_slice(&request.command.body) {
        Ok(value) => Some(value),
        Err(error) => {
            request.fail(response::SYSTEM_ERROR, format!("decode command body: {error}"));
            None
        }
    }
}

fn success(request: &Request) {
    request.answer(Command::response(&request.command, response::SUCCESS));
}

fn answer_json<T: Serialize>(request: &Request, value: &T) {
    let answer = Command::response(&request.command, response::SUCCESS);
    request.answer(answer.with_body(body::to_fastjson(value)));
}

/// Answers with success when the judge has agreed, with its refusal otherwise.
fn answer_when_done(request: Request) -> Reply<()> {
    Reply::new(move |done: Result<(), Refusal>| match done {
        Ok(()) => success(&request),
        Err(refusal) => request.refuse(&refusal),
    })
}
