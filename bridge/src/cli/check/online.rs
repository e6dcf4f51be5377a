//! What is to be known of NATS without changing anything there.

use super::Report;
use crate::app::{self, lookout};
use crate::bus::Bus;
use crate::bus::objects::{Names, ObjectKind};
use crate::bus::permissions::{self, Granted, Role};
use crate::bus::provision::{self, Action, Meaning, ObjectDifference, Plan};
use crate::bus::survey::Survey;
use crate::cli::client;
use crate::cli::globals::Full;
use crate::config::types::{Config, Nats};
use serde_json::Value;
use std::io;
use std::time::Duration;

/// The server answers this from memory.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn check(config: &Config, full: &Full, report: &mut Report<'_>) -> io::Result<()> {
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
            if let Err(error) = provision::room(&bus, &plan).await {
                report.wrong("stream", &error.to_string(), error.code())?;
            }
            let makes = config.nats.provision && plan.is_due();
            permissions(&bus, &config.nats, makes, report).await?;
            there(&bus, full, config, report).await?;
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

/// What an acknowledgement of an event is worth, what fills up, who reads too slowly, and whose clock is right.
async fn there(bus: &Bus, full: &Full, config: &Config, report: &mut Report<'_>) -> io::Result<()> {
    let names = Names::new(bus.subjects.root());
    let Ok(survey) = Survey::take(bus.control.api(), &bus.subjects).await else {
        return Ok(()); // the plan told why
    };
    if let Some(events) = survey.object(&names.events()) {
        let survives = match events.replicas {
            0 | 1 => "on one server: what it stored is lost with it".to_owned(),
            2 => "on two servers: both must run".to_owned(),
            more => format!("on {more} servers: survives the loss of {}", (more - 1) / 2),
        };
        let (name, storage) = (&events.name, &events.storage);
        let finding =
            format!("an event is acknowledged when {name} has it, {storage} storage {survives}");
        report.good("stream", &finding)?;
        for (provider, accounts) in &config.accounts {
            let repeats = full.plugins.get(provider.as_str());
            let repeats = repeats.and_then(|plugin| plugin.description.session.repeats_for());
            let enabled = accounts
                .iter()
                .filter(|(_, account)| account.bridge.enabled);
            let enabled: Vec<String> = enabled
                .map(|(alias, _)| format!("{provider}/{alias}"))
                .collect();
            if let Some(finding) = lookout::window(events, repeats, &enabled) {
                report.doubtful("stream", &finding, "nats_window")?;
            }
        }
    }
    for finding in lookout::shared(bus.control.api(), &names, &survey).await {
        report.doubtful("stream", &finding.text, finding.code)?;
    }
    match survey.clock_differs_ms {
        Some(ms) => report.doubtful("clock", &lookout::clock(ms), "nats_clock"),
        None if survey.objects.is_empty() => Ok(()),
        None => report.good("clock", "agrees with that of NATS"),
    }
}

/// Whether these credentials may do what the bridge does, and make objects where some are to be made.
async fn permissions(
    bus: &Bus,
    nats: &Nats,
    makes: bool,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let mut denials = bus.control.denials();
    let asked = tokio::select! {
        biased;
        asked = Granted::ask(bus.control.replies(), ANSWERS_WITHIN) => asked.map_err(|error| error.to_string()),
        Ok(denied) = denials.recv() => Err(denied.to_string()),
    };
    let granted = match asked {
        Ok(granted) => granted,
        Err(why) => {
            let finding = format!(
                "NATS does not say what may be done: {why}; see im-bridge streams permissions"
            );
            return report.doubtful("nats", &finding, "nats_permission");
        }
    };
    let roles: &[Role] = if makes {
        &[Role::Runtime, Role::Provision]
    } else {
        &[Role::Runtime]
    };
    let mut lacking = Vec::new();
    for role in roles {
        let root = bus.subjects.root();
        let role = permissions::of(*role, root, &nats.inbox_prefix, None, "");
        lacking.extend(role.lacking(&granted));
    }
    lacking.sort();
    lacking.dedup();
    if lacking.is_empty() {
        return report.good("nats", "permits what the bridge does");
    }
    for what in lacking {
        let finding = format!("NATS forbids {what}; see im-bridge streams permissions");
        report.wrong("nats", &finding, "nats_permission")?;
    }
    Ok(())
}
