//! A name server in the simulator: what it does when the network or the clock misbehaves.

use std::sync::Arc;
use std::time::Duration;

use mq_base::env::clock;
use mq_base::env::net::TcpListener;
use mq_base::env::sim::{World, enter, within};
use mq_base::stop::StopSource;
use mq_namesrv::config::Raw;
use mq_net::{ClientOptions, Remoting};
use mq_remoting::Command;
use mq_remoting::body::{RegisterBrokerBody, TopicConfig};
use mq_remoting::code::{request, response};
use mq_remoting::header::{GetRouteInfo, RegisterBroker};

const PATIENCE: Duration = Duration::from_secs(3);
const NAME_SERVER: &str = "namesrv:9876";

fn registration(addr: &str) -> Command {
    let mut body = RegisterBrokerBody::default();
    for topic in ["T", "U"] {
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        table.insert(topic.into(), TopicConfig::new(topic, 4, 6));
    }
    let header = RegisterBroker {
        broker_name: "a".into(),
        broker_addr: addr.into(),
        cluster_name: "C".into(),
        ha_server_addr: "h:1".into(),
        broker_id: 0,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: false,
        body_crc32: 0,
        zone_name: None,
    };
    Command::request(request::REGISTER_BROKER, &header).with_body(body.encode())
}

async fn route(client: &Remoting) -> i32 {
    let header = GetRouteInfo {
        topic: "T".into(),
        accept_standard_json_only: None,
    };
    let asked = Command::request(request::GET_ROUTEINFO_BY_TOPIC, &header);
    client
        .invoke(NAME_SERVER, asked, PATIENCE)
        .await
        .expect("an answer")
        .code
}

#[test]
fn a_cut_off_broker_expires_after_two_minutes_whatever_the_wall_clock_does() {
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(300))
        .build();
    let _world = enter(World::new("default", 1));
    let clock_of_name_server = World::new("namesrv", 2);
    let world = clock_of_name_server.clone();
    sim.host("namesrv", move || {
        within(world.clone(), async {
            let config = Raw::read("tlsServerMode=disabled")?.validate("/home")?;
            let (_source, stop) = StopSource::new();
            Ok(mq_namesrv::run(config, TcpListener::bind("0.0.0.0:9876").await?, stop).await?)
        })
    });
    sim.host("broker", || {
        within(World::new("broker", 3), async {
            let client = Remoting::new(ClientOptions::default(), Arc::new(()))?;
            loop {
                // Fails while it is cut off.
                let _ = client.invoke(NAME_SERVER, registration("broker:10911"), PATIENCE).await;
                clock::sleep(Duration::from_secs(30)).await;
            }
        })
    });
    sim.client(
        "client",
        within(World::new("client", 4), async move {
            let client = Remoting::new(ClientOptions::default(), Arc::new(()))?;
            clock::sleep(Duration::from_secs(5)).await;
            assert_eq!(route(&client).await, response::SUCCESS);
            clock_of_name_server.jump_clock(3_600_000);
            clock::sleep(Duration::from_secs(10)).await;
            assert_eq!(
                route(&client).await,
                response::SUCCESS,
                "the wall clock jumped, the broker lives"
            );
            turmoil::hold("broker", "namesrv");
            clock::sleep(Duration::from_secs(90)).await;
            assert_eq!(route(&client).await, response::SUCCESS, "not silent for long enough");
            clock::sleep(Duration::from_secs(45)).await;
            assert_eq!(route(&client).await, response::TOPIC_NOT_EXIST);
            turmoil::release("broker", "namesrv");
            clock::sleep(Duration::from_secs(40)).await;
            assert_eq!(route(&client).await, response::SUCCESS, "registered again");
            Ok(())
        }),
    );
    sim.run().unwrap();
}
