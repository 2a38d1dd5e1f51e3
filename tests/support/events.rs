//! A client of server-sent events.

use std::pin::Pin;

use eventsource_stream::Eventsource;
use futures::{Stream, StreamExt};
use serde_json::Value;

use super::{Host, PATIENCE};

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Event {
    /// In a few words.
    pub fn told(&self) -> String {
        let word = |key: &str| self.data[key].as_str().unwrap_or_default();
        match self.name.as_str() {
            "hop" => format!("hop {} {}", word("agent"), word("status")),
            "call" => format!("call {} {}", word("kind"), word("state")),
            name => format!("{name} {}", word("status")),
        }
    }
}

/// An open stream, and what came so far.
pub struct Events {
    stream: Pin<Box<dyn Stream<Item = Event> + Send>>,
    pub seen: Vec<Event>,
}

impl Events {
    /// Reads on to an event like that.
    pub async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> &Event {
        let found = async {
            loop {
                let event = self.stream.next().await.unwrap_or_else(|| panic!("the stream ended after {:?}", self.seen));
                let found = wanted(&event);
                self.seen.push(event);
                if found {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(found.is_ok(), "no such event among {:?}", self.seen);
        self.seen.last().unwrap()
    }

    /// Reads on to the end of the stream.
    pub async fn end(&mut self) {
        let rest = async { while self.stream.next().await.is_some() {} };
        tokio::time::timeout(PATIENCE, rest).await.expect("the stream ends");
    }
}

impl Host {
    /// The events of a task, those after `last` if it is said.
    pub async fn events_of(&self, id: &str, last: Option<&str>) -> Events {
        let mut request = self.request(reqwest::Method::GET, &format!("/tasks/{id}/events"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let stream = response.bytes_stream().eventsource().filter_map(|event| async {
            // A stream that breaks off has ended.
            let event = event.ok()?;
            let data = serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {}", event.data));
            Some(Event { name: event.event, id: Some(event.id).filter(|id| !id.is_empty()), data })
        });
        Events { stream: Box::pin(stream), seen: Vec::new() }
    }

    /// A GET by a client that has seen that event.
    pub async fn get_after(&self, path: &str, last: &str) -> (u16, Value) {
        super::read(self.request(reqwest::Method::GET, path).header("last-event-id", last)).await
    }
}
