//! The same server and client inside the simulator: turmoil's network, a world's clock.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Duration;

use mq_base::env::net::TcpListener;
use mq_base::env::sim::{World, enter, within};
use mq_base::stop::StopSource;
use mq_net::{ClientOptions, Connection, InvokeError, Remoting, Server, ServerOptions, Service};
use mq_remoting::Command;

struct Echo;

impl Service for Echo {
    fn call(&self, connection: &Arc<Connection>, command: Command) {
        connection.respond(Command::response(&command, 0).with_body(command.body.clone()));
    }
}

#[test]
fn a_partition_times_calls_out_and_healing_serves_them_again() {
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(60))
        .build();
    let _world = enter(World::new("default", 7));
    sim.host("server", || {
        within(World::new("server", 1), async {
            let server = Server::new(ServerOptions::default(), Arc::new(Echo))?;
            let (_source, stop) = StopSource::new();
            server.serve(TcpListener::bind("0.0.0.0:9876").await?, stop).await;
            Ok(())
        })
    });
    sim.client(
        "client",
        within(World::new("client", 2), async {
            let client = Remoting::new(ClientOptions::default(), Arc::new(()))?;
            let call = |body: &'static str| {
                let client = client.clone();
                async move {
                    let command = Command::bare_request(1).with_body(body);
                    client.invoke("server:9876", command, Duration::from_secs(1)).await
                }
            };
            for _ in 0..20 {
                assert_eq!(call("hello").await?.body, "hello");
            }
            turmoil::partition("client", "server");
            assert!(matches!(call("lost").await, Err(InvokeError::TimedOut { .. })));
            turmoil::repair("client", "server");
            client.close("server:9876");
            assert_eq!(call("again").await?.body, "again");
            Ok(())
        }),
    );
    sim.run().unwrap();
}
