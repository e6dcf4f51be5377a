//! What is to be known of NATS without changing anything there.

use super::Report;
use crate::app;
use crate::bus::api::ApiError;
use crate::bus::objects::{Names, ObjectKind};
use crate::bus::provision::{self, Action, Meaning, ObjectDifference, Plan};
use crate::bus::{Bus, clock};
use crate::cli::client;
use crate::config::types::{Config, Nats};
use im_bridge_sdk::model::Time;
use serde_json::Value;
use std::io;
use std::time::{Duration, Instant};

/// More than a busy machine or a slow way to the server explains.
const CLOCK_MS_MAX: i64 = 2_000;
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn check(config: &Config, report: &mut Report<'_>) -> io::Result<()> {
    let settings = match client::settings(&config.nats) {
        Ok(settings) => settings,
        Err(error) => return report.wrong("secret", &error.to_string(), error.code()),
    };
    let bus = match Bus::connect(&settings).await {
        Ok(bus) => bus,
        Err(error) => return report.wrong("nats", &error.to_string(), error.code()),
    };
    let server = bus.server();
    let finding = format!(
        "{} at {}, JetStream, {} bytes per message",
        server.version, config.nats.url, server.max_payload
    );
    report.good("nats", &finding)?;
    match provision::plan(&bus, &app::settings::limits(&config.nats)).await {
        Ok(plan) => {
            objects(&plan, &config.nats, report)?;
            worth(&bus, report).await?;
        }
        Err(error) => report.wrong("stream", &error.to_string(), error.code())?,
    }
    bus.close(CLOSE_WITHIN).await;
    Ok(())
}

fn objects(plan: &Plan, nats: &Nats, report: &mut Report<'_>) -> io::Result<()> {
    let mut as_wanted = 0;
    for step in &plan.steps {
        let (kind, name) = (step.wanted.kind, &step.wanted.name);
        let differences: Vec<&ObjectDifference> = plan
            .differences
            .iter()
            .filter(|one| {
                one.kind == kind && one.name == *name && one.difference.meaning != Meaning::Wider
            })
            .collect();
        if matches!(step.action, Action::Make) {
            let finding = format!("{name} does not exist");
            // The bridge makes it, if it may; else it will not start.
            if nats.provision {
                report.doubtful(
                    subject(kind),
                    &format!("{finding}; im-bridge run makes it"),
                    "nats_object_missing",
                )?;
            } else {
                report.wrong(
                    subject(kind),
                    &format!("{finding}; run im-bridge streams apply"),
                    "nats_object_missing",
                )?;
            }
        }
        for one in &differences {
            let is_mended = nats.provision && one.difference.meaning == Meaning::Narrower;
            let (finding, code) = told(one);
            if is_mended {
                report.doubtful(subject(kind), &finding, code)?;
            } else {
                report.wrong(subject(kind), &finding, code)?;
            }
        }
        as_wanted += usize::from(matches!(step.action, Action::Keep) && differences.is_empty());
    }
    if as_wanted > 0 {
        report.good(
            "stream",
            &format!("{as_wanted} of {} objects are as wanted", plan.steps.len()),
        )?;
    }
    Ok(())
}

fn subject(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Stream => "stream",
        ObjectKind::Bucket => "bucket",
        ObjectKind::ObjectStore => "objects",
    }
}

fn told(one: &ObjectDifference) -> (String, &'static str) {
    let difference = &one.difference;
    if difference.field != "duplicate_window" || difference.meaning != Meaning::Narrower {
        let (field, actual, wanted) = (&difference.field, &difference.actual, &difference.wanted);
        let finding = format!(
            "{}: {field} is {actual}, wanted {wanted}; see im-bridge streams plan",
            one.name
        );
        return (finding, "nats_object_differs");
    }
    let seconds = |value: &Value| value.as_u64().unwrap_or_default() / 1_000_000_000;
    let finding = format!(
        "{} forgets ids after {} s, wanted {} s, in which a provider may repeat; run im-bridge streams apply",
        one.name,
        seconds(&difference.actual),
        seconds(&difference.wanted)
    );
    (finding, "nats_window")
}

/// What an acknowledgement of the stream of events is worth, and whose clock is right.
async fn worth(bus: &Bus, report: &mut Report<'_>) -> io::Result<()> {
    let name = Names::new(bus.subjects.root()).events();
    let asked = Instant::now();
    let call = format!("STREAM.INFO.{name}");
    let info: Result<Value, ApiError> = bus.control.api().call(&call, &Value::Null).await;
    // It is missing, which has been told.
    let Ok(info) = info else { return Ok(()) };
    let replicas = info["config"]["num_replicas"].as_u64().unwrap_or(1);
    let survives = match replicas {
        0 | 1 => "on one server: what it stored is lost with it".to_owned(),
        2 => "on two servers: both must run".to_owned(),
        more => format!("on {more} servers: survives the loss of {}", (more - 1) / 2),
    };
    let storage = info["config"]["storage"].as_str().unwrap_or("?");
    report.good(
        "stream",
        &format!("an event is acknowledged when {name} has it, {storage} storage {survives}"),
    )?;
    let Some(theirs) = info["ts"]
        .as_str()
        .and_then(|text| text.parse::<Time>().ok())
    else {
        return Ok(());
    };
    let way = i64::try_from(asked.elapsed().as_millis()).unwrap_or_default();
    let differs = (clock::unix_ms() - theirs.ms()).abs();
    if differs > CLOCK_MS_MAX + way {
        let finding =
            format!("this clock and that of NATS differ by {differs} ms; synchronise them");
        return report.doubtful("clock", &finding, "nats_clock");
    }
    report.good("clock", "agrees with that of NATS")
}
